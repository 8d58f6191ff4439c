# SPDX-License-Identifier: Apache-2.0
"""Bars of mAP and R1 of several runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from .canvas import FONT, INK, WORDS, chart, plain, wrap
from .palette import color_at
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
    inches = max(0.21 * len(metrics), *(0.16 * len(lines) for lines in names)) + 0.2
    figure = chart(7.2, inches * len(runs) + 0.9, title, note)
    axes = figure.subplots()
    bar = 0.21 / inches
    for row, numbers in enumerate(table):
        for n, (mean, std) in enumerate(numbers):
            if not np.isfinite(mean):
                continue
            drawn = axes.barh(
                row + (n - (len(metrics) - 1) / 2) * bar,
                mean,
                xerr=std if np.isfinite(std) else None,
                height=0.88 * bar,
                **_look(n),
                error_kw=dict(ecolor=INK, capsize=2.5, elinewidth=1.2),
            )
            words = f'{mean:.1f} ± {std:.1f}' if np.isfinite(std) else f'{mean:.1f}'
            style = dict(fontsize=8, family=FONT, color=INK, annotation_clip=False)
            axes.bar_label(drawn, [words], padding=4, **style)
    axes.set(xlim=(0, 100), ylim=(len(runs) - 0.5, -0.5))
    plain(axes, 'x')
    axes.set_yticks(range(len(runs)), ['\n'.join(lines) for lines in names], **WORDS)
    axes.tick_params(axis='y', length=0, labelsize=9)
    axes.set_xlabel('percent', fontsize=9, family=FONT)
    keys = [Patch(label=metric, **_look(n)) for n, metric in enumerate(metrics)]
    place = dict(loc='lower left', bbox_to_anchor=(0, 1), ncols=len(metrics))
    axes.legend(handles=keys, **place, frameon=False, fontsize=9, borderaxespad=0.2)
    return figure


def _look(n: int) -> dict:
    hatch = _HATCHES[n % len(_HATCHES)]
    return dict(facecolor=color_at(n), edgecolor='white', hatch=hatch, linewidth=0)


def _check(runs, metrics) -> list[list[tuple[float, float]]]:
    """Mean and deviation, run by run."""
    if not runs or not metrics:
        raise ValueError('comparison: give at least one run and one metric.')
    table = []
    for run, numbers in runs.items():
        row = []
        for metric in metrics:
            seeds = np.atleast_1d(np.asarray(numbers.get(metric, np.nan), np.float64))
            if ((seeds < 0) | (seeds > 100)).any():  # NaN is neither
                raise ValueError(
                    f'comparison: {metric} of {run!r} is {numbers[metric]}; expected '
                    'percent, 0 to 100.'
                )
            row.append(tuple(part.item() for part in mean_and_std(seeds[None])))
        table.append(row)
    if not np.isfinite(table).any():
        raise ValueError(
            f'comparison: none of the runs {list(runs)} has one of {list(metrics)}.'
        )
    return table
