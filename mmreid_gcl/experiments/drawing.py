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


def draw_table(
    table: Table,
    rows: Sequence[tuple[Resolved, Sequence[Result]]],
    default: float | None = None,
    note: str = '',
) -> Figure:
    """MAP and R1 of a table.

    Args:
        table (Table): The table.
        rows (Sequence): Of :func:`~mmreid_gcl.experiments.markdown.rows_of`.
        default (float, optional): The value of a sweep that the config has;
            marked.
        note (str): A small line below, such as the settings of all rows.

    Returns:
        Figure: See :func:`~mmreid_gcl.visualization.sweep` and
        :func:`~mmreid_gcl.visualization.comparison`.

    Raises:
        ValueError: If nothing of the table has run.
    """
    if not any(results for _, results in rows):
        raise ValueError(
            f'{table.name}: nothing to draw, for nothing of it has run. Give the '
            'work dir or the results, and the --cfg-options of the runs.'
        )
    if not table.parameter:
        runs = {
            experiment.label: {
                metric: [r.metrics[metric] for r in results if metric in r.metrics]
                for metric in ('mAP', 'R1')
            }
            for experiment, (_, results) in zip(table.rows, rows)
            if results
        }
        counts = sorted({len(results) for _, results in rows if results})
        seeds = (
            f'{counts[0]} to {counts[-1]} seeds'
            if len(counts) > 1
            else (f'{counts[0]} seed' + ('s' if counts[0] > 1 else ''))
        )
        words = 'mean' if counts[-1] == 1 else 'mean ± sample standard deviation'
        words = f'{words} of {seeds}, after the last epoch.'
        missing = sum(not results for _, results in rows)
        if missing:
            words += f' Not run: {missing} of {len(rows)} rows.'
        words = words[0].upper() + words[1:]
        return comparison(runs, title=table.title, note=f'{words} {note}'.strip())
    seeds = sorted({r.seed for _, results in rows for r in results})
    scores = {}
    for metric in ('mAP', 'R1'):
        scores[f'{metric} (%)'] = np.full((len(rows), len(seeds)), np.nan)
        for i, (_, results) in enumerate(rows):
            for result in results:
                if metric in result.metrics:
                    column = seeds.index(result.seed)
                    scores[f'{metric} (%)'][i, column] = result.metrics[metric]
    values = [row.value for row in table.rows if row.value is not None]  # all
    return sweep(
        values, scores, table.parameter, chosen=default, title=table.title, note=note
    )
