# SPDX-License-Identifier: Apache-2.0
"""Bars of the audit of graphs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from .canvas import FONT, INK, WORDS, chart, plain, wrap
from .palette import color_at


@dataclass(frozen=True)
class AuditPanel:
    """One measure of all kinds of graphs."""

    title: str  #: Heading
    values: Sequence[float]  #: (K,) of each kind; NaN has no bar
    marks: Sequence[float]  #: (K,) what to compare with; NaN is none
    limit: float  #: End of the axis, which begins at 0
    places: int = 1  #: Decimal places of the numbers


def graph_audit(
    names: Sequence[str],
    panels: Sequence[AuditPanel],
    leaking: Sequence[bool] | None = None,
    mark: str = 'chance',
    title: str | None = None,
    note: str | None = None,
) -> Figure:
    """Measures side by side, one bar for each kind of graphs.

    Args:
        names (Sequence[str]): (K,) kinds of graphs, from above.
        panels (Sequence[AuditPanel]): The measures.
        leaking (Sequence[bool], optional): (K,) which kinds see identities;
            these have another colour, and the legend says so.
        mark (str): What the marks are.
        title (str, optional): Heading.
        note (str, optional): Small lines below.

    Returns:
        Figure: One axes a panel.

    Raises:
        ValueError: If there is nothing to draw, lengths differ, or a value is
            outside its axis.
    """
    _check(names, panels, leaking)
    leaking = [False] * len(names) if leaking is None else list(leaking)
    heads = ['\n'.join(wrap(panel.title, 2.4, 9)) for panel in panels]
    lines = 1 + max(head.count('\n') for head in heads)
    width = 2.05 + 2.95 * len(panels)
    height = 0.42 * len(names) + 0.17 * lines + 0.5
    looks = [('sees identities', color_at(1), 's')] if any(leaking) else []
    looks += [('without identities', color_at(0), 's'), (mark, INK, '|')]
    keys = [
        Line2D([], [], color=color, marker=marker, linestyle='', label=label)
        for label, color, marker in looks
    ]
    figure = chart(width, height, title, note, keys, columns=3)
    row = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for axes, panel, head in zip(row, panels, heads):
        _draw(axes, panel, [color_at(int(leak)) for leak in leaking])
        axes.set_title(head, loc='left', fontsize=9, color=INK, **WORDS)
    labels = ['\n'.join(wrap(name, 1.7, 9)) or name for name in names]
    row[0].set_yticks(range(len(names)), labels, **WORDS)
    row[0].set_ylim(len(names) - 0.45, -0.55)
    return figure


def _draw(axes, panel: AuditPanel, colors: Sequence[str]) -> None:
    for y, (value, mark) in enumerate(zip(panel.values, panel.marks)):
        if np.isfinite(value):
            axes.barh(y, value, height=0.62, color=colors[y])
        if np.isfinite(mark):
            axes.plot([mark, mark], [y - 0.4, y + 0.4], color=INK, linewidth=1.6)
        words = f'{value:.{panel.places}f}' if np.isfinite(value) else '–'
        # beyond bar and mark, so that no mark strikes it through
        end = (np.nanmax([value, mark, 0]), y)
        style = dict(va='center', fontsize=8, family=FONT, color=INK)
        place = dict(xytext=(5, 0), textcoords='offset points', annotation_clip=False)
        axes.annotate(words, end, **place, **style)
    axes.set_xlim(0, panel.limit)
    plain(axes, 'x')
    axes.tick_params(axis='y', length=0, labelsize=9)


def _check(names, panels, leaking) -> None:
    if not len(names) or not len(panels):
        raise ValueError('graph_audit: give at least one kind of graphs and one panel.')
    if leaking is not None and len(leaking) != len(names):
        raise ValueError(
            f'graph_audit: {len(leaking)} values of leaking for {len(names)} names.'
        )
    for panel in panels:
        if len(panel.values) != len(names) or len(panel.marks) != len(names):
            raise ValueError(
                f'graph_audit: {panel.title!r} has {len(panel.values)} values and '
                f'{len(panel.marks)} marks for {len(names)} names.'
            )
        known = np.array([*panel.values, *panel.marks], dtype=np.float64)
        if ((known < 0) | (known > panel.limit)).any():  # NaN is neither
            raise ValueError(
                f'graph_audit: {panel.title!r} has values outside 0 to {panel.limit}.'
            )
