# SPDX-License-Identifier: Apache-2.0
"""A hyper-parameter against mAP and R1 (figure 5 of the paper)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from .canvas import FAINT, FONT, chart, plain
from .palette import color_at


def sweep(
    values: Sequence[float],
    scores: Mapping[str, np.ndarray],
    name: str,
    reference: Mapping[str, Sequence[float]] | None = None,
    chosen: float | None = None,
    title: str | None = None,
    note: str | None = None,
) -> Figure:
    """Mean and standard deviation over seeds at each value.

    The metrics stand one above the other, each on its own axis, with the *same*
    number of points to the inch; the axes need not begin at 0, as lines, not
    bars, are compared.

    Args:
        values (Sequence[float]): (V,) values, all different, in any order.
        scores (Mapping[str, np.ndarray]): Metric, for example 'mAP (%)', to
            (V,) or (V, S) results of S seeds; NaN where a run is missing.
        name (str): Of the hyper-parameter.
        reference (Mapping[str, Sequence[float]], optional): Metric to (V,)
            numbers to compare with, for example the paper's; NaN is none.
        chosen (float, optional): The value that the defaults have; marked.
        title (str, optional): Heading.
        note (str, optional): Small lines below.

    Returns:
        Figure: One axes a metric. The scale of x is logarithmic if all values
        are positive and the largest is at least eight times the smallest.

    Raises:
        ValueError: If there is no value or no metric, shapes differ, values
            repeat, or a metric has no result.
    """
    values = np.asarray(values, dtype=np.float64)
    tables = _check(values, scores, reference)
    order = np.argsort(values)
    values = values[order]
    log = values.min() > 0 and values.max() >= 8 * values.min()
    seeds = max(table.shape[1] for table in tables.values())
    marks = [f'mean ± std over up to {seeds} seeds (dashes)'] if seeds > 1 else []
    marks += ['grey diamonds: reference'] if reference else []
    marks += [f'dashed line: the config has {chosen:g}'] if chosen is not None else []
    below = '. '.join(filter(None, ['; '.join(marks), note]))
    figure = chart(5.2, 2.1 * len(tables) + 0.5, title, below)
    rows = figure.subplots(len(tables), 1, sharex=True, squeeze=False)[:, 0]
    for n, (axes, (metric, table)) in enumerate(zip(rows, tables.items())):
        mean, std = mean_and_std(table[order])
        color = color_at(n)
        error = np.nan_to_num(std) if np.isfinite(std).any() else None
        style = dict(color=color, marker='o', markersize=5, linewidth=1.7, capsize=3)
        axes.errorbar(values, mean, yerr=error, zorder=3, **style)
        if table.shape[1] > 1:
            axes.plot(values, table[order], '_', color=color, alpha=0.45, markersize=8)
        theirs = (reference or {}).get(metric)
        if theirs is not None:
            theirs = np.asarray(theirs, dtype=np.float64)[order]
            axes.plot(values, theirs, ':D', color=FAINT, markersize=4, linewidth=1.2)
        if chosen is not None:
            axes.axvline(chosen, color='#bbbbbb', linewidth=1, linestyle='--', zorder=0)
        axes.set_ylabel(metric, fontsize=9, family=FONT)
        plain(axes, 'y')
    if log:
        rows[0].set_xscale('log')
    rows[0].set_xticks(values, [f'{v:g}' for v in values])
    rows[0].xaxis.set_minor_locator(NullLocator())
    rows[-1].set_xlabel(name + (' (log scale)' if log else ''), fontsize=9.5)
    # as many points to the inch in all, and at least one point
    limits = np.array([axes.get_ylim() for axes in rows])
    half = max(1.0, np.ptp(limits, axis=1).max()) / 2
    for axes, middle in zip(rows, limits.mean(axis=1)):
        axes.set_ylim(middle - half, middle + half)
    return figure


def _check(values, scores, reference) -> dict[str, np.ndarray]:
    if values.ndim != 1 or len(values) == 0 or not scores:
        raise ValueError('sweep: give at least one value and one metric.')
    if len(np.unique(values)) != len(values) or not np.isfinite(values).all():
        raise ValueError(
            f'sweep: the values must be finite and all different, got '
            f'{values.tolist()}. '
            "Put the seeds of a value into the scores' second dimension."
        )
    tables = {}
    for metric, table in scores.items():
        table = np.asarray(table, dtype=np.float64)
        if table.ndim == 1:
            table = table[:, None]
        if table.ndim != 2 or len(table) != len(values):
            raise ValueError(
                f'sweep: {metric} has the shape {np.shape(scores[metric])}; expected '
                f'({len(values)},) or ({len(values)}, seeds).'
            )
        if not np.isfinite(table).any():
            raise ValueError(f'sweep: {metric} has no result at all.')
        tables[metric] = table
    for metric, numbers in (reference or {}).items():
        if len(numbers) != len(values):
            raise ValueError(
                f'sweep: reference[{metric!r}] has {len(numbers)} numbers for '
                f'{len(values)} values. Use NaN where there is none.'
            )
    return tables


def mean_and_std(table: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Over the seeds of a table (V, S) that there are; NaN is a missing run.

    (V,) means, NaN without a run, and (V,) sample standard deviations (divided by
    n - 1), NaN with less than two.
    """
    there = np.ma.masked_invalid(table)
    std = there.std(axis=1, ddof=1).filled(np.nan)
    return there.mean(axis=1).filled(np.nan), std
