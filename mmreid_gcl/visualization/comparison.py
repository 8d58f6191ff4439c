# SPDX-License-Identifier: Apache-2.0
"""Bars of mAP and R1 of several runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from .canvas import FONT, new_figure
from .heading import draw_heading, draw_notes
from .palette import color_at
from .sheet import INK, wrap
from .sweep import mean_and_std

_HATCHES = ('', '///', '...', 'xxx')


def comparison(
    runs: Mapping[str, Mapping[str, float | Sequence[float]]],
    metrics: Sequence[str] = ('mAP', 'R1'),
    title: str | None = None,
    note: str | None = None,
) -> Figure:
    """Horizontal bars from 0 to 100 %, with their numbers.

    Args:
        runs (Mapping[str, Mapping]): Name of a run to its metrics in percent:
            a number, or one for each seed (mean, with the sample standard
            deviation as a line). A metric that a run lacks has no bar.
        metrics (Sequence[str]): Which, in this order. Defaults to mAP and R1.
        title (str, optional): Heading.
        note (str, optional): A small line below.

    Returns:
        Figure: One axes; bars run by run from above.

    Raises:
        ValueError: If there is no run, no run has one of the metrics, or a
            number is not within 0 to 100.
    """
    table = _check(runs, metrics)
    names = [wrap(name, 1.9, 8) or [name] for name in runs]
    bar, between = 0.21, 0.2
    rows = [max(len(metrics) * bar, 0.16 * len(lines)) for lines in names]
    width = 7.2
    heading = wrap(title or '', width - 0.4, 12)
    top = 0.2 + 0.24 * len(heading) + 0.35
    inside = sum(rows) + between * (len(rows) + 1)
    notes = wrap(note or '', width - 0.4, 7)
    bottom = 0.55 + 0.15 * len(notes)
    height = top + inside + bottom
    figure = new_figure(width, height)
    draw_heading(figure, heading)
    draw_notes(figure, notes, 0.12, 0.15)
    axes = figure.add_axes(
        (2.1 / width, bottom / height, (width - 2.8) / width, inside / height)
    )
    ticks, y = [], between
    for row, numbers in zip(rows, table):
        ticks.append(y + row / 2)
        begin = y + (row - len(metrics) * bar) / 2
        for n, (mean, std) in enumerate(numbers):
            if np.isfinite(mean):
                _bar(axes, begin + (n + 0.5) * bar, mean, std, n, bar)
        y += row + between
    axes.set_ylim(inside, 0)
    axes.set_xlim(0, 100)
    axes.set_yticks(ticks, ['\n'.join(lines) for lines in names])
    for label in axes.get_yticklabels():
        label.set(fontsize=9, family=FONT, parse_math=False)
    axes.tick_params(axis='x', labelsize=8.5)
    axes.tick_params(axis='y', length=0)
    axes.set_xlabel('percent', fontsize=9, family=FONT)
    axes.grid(axis='x', color='#e4e4e4', linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[['top', 'right']].set_visible(False)
    handles = [
        Patch(
            facecolor=color_at(n),
            edgecolor='white',
            hatch=_HATCHES[n % len(_HATCHES)],
            label=metric,
        )
        for n, metric in enumerate(metrics)
    ]
    axes.legend(
        handles=handles,
        loc='lower left',
        bbox_to_anchor=(0, 1),
        ncols=len(metrics),
        frameon=False,
        fontsize=9,
        borderaxespad=0.2,
    )
    return figure


def _bar(axes, y: float, mean: float, std: float, n: int, thickness: float) -> None:
    axes.barh(
        y,
        mean,
        height=thickness * 0.88,
        color=color_at(n),
        hatch=_HATCHES[n % len(_HATCHES)],
        edgecolor='white',
        linewidth=0,
    )
    words, end = f'{mean:.1f}', mean
    if np.isfinite(std):
        axes.errorbar(mean, y, xerr=std, color=INK, capsize=2.5, linewidth=1.2)
        words, end = f'{mean:.1f} ± {std:.1f}', mean + std
    axes.annotate(
        words,
        (end, y),
        xytext=(4, 0),
        textcoords='offset points',
        fontsize=8,
        family=FONT,
        va='center',
        color=INK,
        annotation_clip=False,
    )


def _check(runs, metrics) -> list[list[tuple[float, float]]]:
    """Mean and deviation, run by run."""
    if not runs or not metrics:
        raise ValueError('comparison: give at least one run and one metric.')
    table = []
    for run, numbers in runs.items():
        row = []
        for metric in metrics:
            seeds = np.atleast_1d(np.asarray(numbers.get(metric, np.nan), np.float64))
            known = seeds[np.isfinite(seeds)]
            if ((known < 0) | (known > 100)).any():
                raise ValueError(
                    f'comparison: {metric} of {run!r} is {numbers[metric]}; expected '
                    'percent, 0 to 100.'
                )
            mean, std = mean_and_std(seeds[None])
            row.append((float(mean[0]), float(std[0])))
        table.append(row)
    if not np.isfinite([mean for row in table for mean, _ in row]).any():
        raise ValueError(
            f'comparison: none of the runs {list(runs)} has one of {list(metrics)}.'
        )
    return table
