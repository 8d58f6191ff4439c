# SPDX-License-Identifier: Apache-2.0
"""A hyper-parameter against mAP and R1 (figure 5 of the paper)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from .canvas import FONT, new_figure
from .heading import draw_heading, draw_notes
from .palette import color_at
from .sheet import FAINT, wrap


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
    step = 2.1
    width = 5.2
    heading = wrap(title or '', width - 0.4, 12)
    top = 0.2 + 0.24 * len(heading) + 0.25
    notes = wrap(note or '', width - 0.4, 7.5)
    below = 0.15 * len(notes)
    height = top + step * len(tables) + 0.6 + below
    figure = new_figure(width, height)
    draw_heading(figure, heading)
    all_axes: list[Axes] = []
    for n, (metric, table) in enumerate(tables.items()):
        axes = figure.add_axes(
            (
                0.8 / width,
                1 - (top + step * n + step - 0.25) / height,
                (width - 1.1) / width,
                (step - 0.25) / height,
            ),
            sharex=all_axes[0] if all_axes else None,
        )
        all_axes.append(axes)
        theirs = (reference or {}).get(metric)
        if theirs is not None:
            theirs = np.asarray(theirs, dtype=np.float64)[order]
        _draw(axes, values, table[order], theirs, n)
        axes.set_ylabel(metric, fontsize=9, family=FONT)
        if chosen is not None:
            axes.axvline(chosen, color='#bbbbbb', linewidth=1, linestyle='--', zorder=0)
        last = n == len(tables) - 1
        axes.tick_params(labelsize=8.5, labelbottom=last)
    if log:
        all_axes[0].set_xscale('log')
    for axes in all_axes:
        axes.set_xticks(values, [f'{v:g}' for v in values])
        axes.xaxis.set_minor_locator(NullLocator())
    all_axes[-1].set_xlabel(name + (' (log scale)' if log else ''), fontsize=9.5)
    _same_span(all_axes)
    draw_notes(figure, notes, 0.12, 0.15)
    _key(figure, tables, reference, chosen, width, height, below)
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
    """Over the seeds that there are.

    Args:
        table (np.ndarray): (V, S), NaN where a run is missing.

    Returns:
        tuple[np.ndarray, np.ndarray]: (V,) means, NaN without a run; (V,)
        sample standard deviations (divided by n - 1), NaN with less than two.
    """
    there = np.isfinite(table)
    count = there.sum(axis=1)
    filled = np.where(there, table, 0.0)
    with np.errstate(invalid='ignore', divide='ignore'):
        mean = np.where(count > 0, filled.sum(axis=1) / count, np.nan)
        squares = np.where(there, (table - mean[:, None]) ** 2, 0.0).sum(axis=1)
        std = np.where(count > 1, np.sqrt(squares / (count - 1)), np.nan)
    return mean, std


def _draw(axes, values, table, reference, n: int) -> None:
    mean, std = mean_and_std(table)
    color = color_at(n)
    axes.errorbar(
        values,
        mean,
        yerr=np.where(np.isfinite(std), std, 0.0) if np.isfinite(std).any() else None,
        color=color,
        marker='o',
        markersize=5,
        linewidth=1.7,
        capsize=3,
        zorder=3,
    )
    if table.shape[1] > 1:
        for seed in table.T:
            axes.plot(
                values, seed, '_', color=color, alpha=0.45, markersize=8, zorder=2
            )
    if reference is not None:
        axes.plot(
            values, reference, ':', color=FAINT, marker='D', markersize=4, linewidth=1.2
        )
    axes.grid(axis='y', color='#e4e4e4', linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[['top', 'right']].set_visible(False)


def _same_span(all_axes: list) -> None:
    """As many points to the inch in all, and at least one point."""
    limits = [axes.get_ylim() for axes in all_axes]
    span = max(1.0, max(high - low for low, high in limits))
    for axes, (low, high) in zip(all_axes, limits):
        middle = (low + high) / 2
        axes.set_ylim(middle - span / 2, middle + span / 2)


def _key(figure, tables, reference, chosen, width, height, below) -> None:
    words = []
    seeds = max(table.shape[1] for table in tables.values())
    if seeds > 1:
        words.append(f'mean ± std over up to {seeds} seeds (dashes)')
    if reference:
        words.append('grey diamonds: reference')
    if chosen is not None:
        words.append(f'dashed line: the config has {chosen:g}')
    figure.text(
        0.2 / width,
        (0.12 + below) / height,
        '; '.join(words),
        fontsize=7.5,
        family=FONT,
        color=FAINT,
        parse_math=False,
    )
