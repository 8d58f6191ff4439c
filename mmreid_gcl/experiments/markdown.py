# SPDX-License-Identifier: Apache-2.0
"""A table of results as Markdown and as rows."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from statistics import mean, stdev
from typing import Any

from .experiment import Resolved
from .results import Result, paired
from .tables import Table

NOT_RUN = 'not run'
#: Key of ``Result.pseudo_labels``, heading, decimal places.
_CLUSTERS = (
    ('ari', 'ARI', 3), ('unrefined_ari', 'ARI unrefined', 3),
    ('clusters', 'clusters', 0), ('outliers', 'outliers', 0),
)  # fmt: skip


def rows_of(
    table: Table, resolved: Sequence[Resolved], results: Sequence[Result]
) -> list[tuple[Resolved, list[Result]]]:
    """Each row with its results, sorted by seed; none where nothing has run."""
    ordered = sorted(results, key=lambda r: r.seed)
    return [
        (row, [r for r in ordered if r.fingerprint == row.fingerprint])
        for row in resolved
    ]


def spread(values: Sequence[float], places: int = 1, sign: str = '') -> str:
    """Such as '77.0 ± 0.4'; without a deviation where there is one value.

    ``sign='+'`` gives positive ones their sign.
    """
    if not values:
        return '–'
    text = f'{mean(values):{sign}.{places}f}'
    return text if len(values) == 1 else f'{text} ± {stdev(values):.{places}f}'


def to_markdown(
    table: Table,
    rows: Sequence[tuple[Resolved, Sequence[Result]]],
    notes: Sequence[str] = (),
) -> str:
    """A heading, the table, and what to know when reading it.

    ``rows`` are those of :func:`rows_of`; ``notes`` are more sentences below.
    """
    head = ['', 'graphs', 'runs']
    for metric in table.metrics:
        head += [f'paper {metric}'] if table.paper_on else []
        head += [metric]
    base = next(
        (row for row, e in zip(rows, table.rows) if e.label == table.base), None
    )
    if base:
        head += [f'mAP beside {table.base}']
    head += [*(title for _, title, _ in _CLUSTERS), 's/epoch']
    lines = [head, ['---', '---'] + ['--:'] * (len(head) - 2)]
    for experiment, (resolved, results) in zip(table.rows, rows):
        cells = [experiment.label, resolved.graphs, str(len(results))]
        for metric in table.metrics:
            if table.paper_on:
                number = experiment.paper.get(metric)
                cells.append('–' if number is None else f'{number:.1f}')
            values = [r.metrics[metric] for r in results if metric in r.metrics]
            cells.append(spread(values) if results else NOT_RUN)
        if base:
            gains = paired(results, base[1], 'mAP')
            cells.append(spread(gains, sign='+') if resolved is not base[0] else '')
        for key, _, places in _CLUSTERS:
            values = [r.pseudo_labels[key] for r in results if key in r.pseudo_labels]
            cells.append(spread(values, places))
        times = [r.seconds / r.epochs for r in results if r.epochs and r.seconds]
        if len({r.device for r in results}) > 1:
            times = []
        lines.append([*cells, spread(times, 0)])
    text = [f'### {table.title}', '']
    text += [f'| {" | ".join(cells)} |' for cells in lines]
    below = [
        'mAP and CMC in %, mean ± sample standard deviation over runs, after the last '
        "epoch. ARI: agreement of the last epoch's pseudo-labels with the identities "
        '(report only). s/epoch: seconds of a whole run by its epochs, beside all that '
        'the machine did; – where a row ran on several.'
    ]
    if table.paper_on:
        below.append(f"The paper's numbers are on: {table.paper_on}.")
    if base:
        below.append(
            f'Beside {table.base}: mean ± deviation of the differences between runs of '
            'one data set and seed.'
        )
    below += [table.note] if table.note else []
    ran = [result for _, results in rows for result in results]
    devices = sorted({r.device for r in ran if r.device})
    if devices:
        below.append(f'Ran on: {"; ".join(devices)}.')
    roots = sorted({r.data_root for r in ran if r.data_root})
    if len(roots) > 1 and not table.base:
        below.append(f'Beware: the data came from several folders: {", ".join(roots)}.')
    return '\n'.join([*text, '', ' '.join([*below, *notes]), ''])


def to_records(
    table: Table, rows: Sequence[tuple[Resolved, Sequence[Result]]]
) -> list[dict]:
    """One flat record for each run, and one for each row that has none."""
    records = []
    for experiment, (resolved, results) in zip(table.rows, rows):
        common: dict[str, Any] = dict(
            table=table.name,
            row=experiment.label,
            value=experiment.value,
            config=resolved.name,
            fingerprint=resolved.fingerprint,
            graphs=resolved.graphs,
            **{f'paper_{k}': experiment.paper.get(k) for k in table.metrics},
        )
        for run in results or (None,):
            own: dict[str, Any] = dict(
                data_root=run and run.data_root,
                seed=run and run.seed,
                **{k: run and run.metrics.get(k) for k in table.metrics},
                **{k: run and run.pseudo_labels.get(k) for k, _, _ in _CLUSTERS},
                epochs=run and run.epochs,
                seconds=run and (run.seconds or None),
                device=run and run.device,
            )
            records.append(common | own)
    return records


def to_csv(records: Sequence[Mapping]) -> str:
    """Records as CSV, with a line of headings; what is missing is empty."""
    names = list(dict.fromkeys(name for record in records for name in record))
    out = io.StringIO()
    writer = csv.DictWriter(out, names, lineterminator='\n')
    writer.writeheader()
    writer.writerows(records)
    return out.getvalue()
