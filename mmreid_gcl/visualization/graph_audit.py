# SPDX-License-Identifier: Apache-2.0
"""What the graphs of the clustering know of identities, as bars."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from .canvas import FONT, new_figure
from .heading import draw_heading, draw_notes
from .palette import color_at
from .sheet import INK, wrap


@dataclass(frozen=True)
class AuditPanel:
    """One measure of all kinds of graphs.

    Attributes:
        title (str): Heading.
        values (Sequence[float]): (K,) of each kind; NaN has no bar.
        marks (Sequence[float]): (K,) what to compare with; NaN is none.
        limit (float): End of the axis, which begins at 0.
        places (int): Decimal places of the numbers.
    """

    title: str
    values: Sequence[float]
    marks: Sequence[float]
    limit: float
    places: int = 1


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
    labels = [wrap(name, 1.7, 9) or [name] for name in names]
    row, first, gap = 0.42, 1.9, 0.55  # the gap has room for the number of a full bar
    each = 2.4
    width = first + len(panels) * (each + gap) + 0.15
    heading = wrap(title or '', width - 0.4, 12)
    notes = wrap(note or '', width - 0.4, 7.5)
    heads = [wrap(panel.title, each, 9) for panel in panels]
    lines = max(map(len, heads))
    top = 0.2 + 0.24 * len(heading) + 0.25 + 0.17 * lines + 0.1
    inside = row * len(names) + 0.1
    bottom = 0.45 + 0.16 * len(notes)
    height = top + inside + bottom
    figure = new_figure(width, height)
    style = dict(family=FONT, va='center', parse_math=False)
    draw_heading(figure, heading)
    draw_notes(figure, notes, 0.13, 0.16)
    for n, panel in enumerate(panels):
        left = first + n * (each + gap)
        axes = figure.add_axes(
            (left / width, bottom / height, each / width, inside / height)
        )
        _draw(axes, panel, leaking)
        for k, line in enumerate(heads[n]):
            y = 1 - (top - 0.1 - 0.17 * (len(heads[n]) - 0.5 - k)) / height
            figure.text(left / width, y, line, fontsize=9, color=INK, **style)
        axes.set_yticks(range(len(names)))
        axes.set_yticklabels(['\n'.join(label) for label in labels] if n == 0 else [])
        for label in axes.get_yticklabels():
            label.set(fontsize=9, family=FONT, parse_math=False)
    handles = [_key(color_at(0), 's', 'without identities')]
    if any(leaking):
        handles = [_key(color_at(1), 's', 'sees identities'), *handles]
    figure.legend(
        handles=[*handles, _key(INK, '|', mark)],
        loc='center right',
        bbox_to_anchor=(1 - 0.1 / width, 1 - (0.3 + 0.24 * len(heading)) / height),
        ncols=3,
        frameon=False,
        fontsize=8.5,
    )
    return figure


def _key(color: str, marker: str, label: str) -> Line2D:
    return Line2D([], [], color=color, marker=marker, linestyle='', label=label)


def _draw(axes, panel: AuditPanel, leaking: Sequence[bool]) -> None:
    for y, (value, mark) in enumerate(zip(panel.values, panel.marks)):
        if np.isfinite(value):
            axes.barh(y, value, height=0.62, color=color_at(int(leaking[y])))
        if np.isfinite(mark):
            axes.plot([mark, mark], [y - 0.4, y + 0.4], color=INK, linewidth=1.6)
        end = np.nanmax([value, mark, 0])
        words = f'{value:.{panel.places}f}' if np.isfinite(value) else '–'
        # beyond bar and mark, so that no mark strikes it through
        axes.annotate(
            words,
            (end, y),
            xytext=(5, 0),
            textcoords='offset points',
            ha='left',
            va='center',
            fontsize=8,
            family=FONT,
            color=INK,
            annotation_clip=False,
        )
    axes.set_ylim(len(panel.values) - 0.45, -0.55)
    axes.set_xlim(0, panel.limit)
    axes.tick_params(axis='x', labelsize=8)
    axes.tick_params(axis='y', length=0)
    axes.grid(axis='x', color='#e4e4e4', linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[['top', 'right']].set_visible(False)


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
        known = known[np.isfinite(known)]
        if ((known < 0) | (known > panel.limit)).any():
            raise ValueError(
                f'graph_audit: {panel.title!r} has values outside 0 to {panel.limit}.'
            )
