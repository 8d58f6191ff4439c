# SPDX-License-Identifier: Apache-2.0
"""A table as a figure: a sweep as lines, any other as bars."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from mmreid_gcl.visualization import comparison, sweep

from .experiment import Resolved
from .results import Result
from .tables import Table

_METRICS = ('mAP', 'R1')


def draw_table(
    table: Table,
    rows: Sequence[tuple[Resolved, Sequence[Result]]],
    default: float | None = None,
    note: str = '',
) -> Figure:
    """MAP and R1 of a table, with its rows by ``rows_of``.

    ``default``, the value of a sweep that the config has, is marked; ``note`` is a
    small line below, such as the settings of all rows. Without any run a
    ``ValueError``.
    """
    if not any(results for _, results in rows):
        raise ValueError(
            f'{table.name}: nothing to draw, for nothing of it has run. Give the '
            'work dir or the results, and the --cfg-options of the runs.'
        )
    if table.parameter:
        return sweep(
            [row.value for row in table.rows if row.value is not None],  # all
            {f'{metric} (%)': _by_seed(rows, metric) for metric in _METRICS},
            table.parameter,
            chosen=default,
            title=table.title,
            note=note,
        )
    runs = {
        experiment.label: {
            metric: [r.metrics[metric] for r in results if metric in r.metrics]
            for metric in _METRICS
        }
        for experiment, (_, results) in zip(table.rows, rows)
        if results
    }
    counts = sorted({len(results) for _, results in rows if results})
    words = 'Mean' if counts[-1] == 1 else 'Mean ± sample standard deviation'
    words += ' of ' + ' to '.join(map(str, dict.fromkeys((counts[0], counts[-1]))))
    words += ' seed' if counts[-1] == 1 else ' seeds'
    words += ', after the last epoch.'
    missing = sum(not results for _, results in rows)
    if missing:
        words += f' Not run: {missing} of {len(rows)} rows.'
    return comparison(runs, title=table.title, note=f'{words} {note}'.strip())


def _by_seed(rows: Sequence[tuple[Resolved, Sequence[Result]]], metric: str):
    """(rows, seeds) numbers of a metric, NaN where there is none."""
    seeds = sorted({r.seed for _, results in rows for r in results})
    found = [{r.seed: r.metrics.get(metric) for r in results} for _, results in rows]
    return np.array([[row.get(seed) for seed in seeds] for row in found], np.float64)
