# SPDX-License-Identifier: Apache-2.0
"""Embeddings in the plane (figure 7 of the paper)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from .canvas import FONT, new_figure
from .palette import colors_of, markers_of
from .sheet import FAINT, INK

_MOST_IN_LEGEND = 24


def embedding_map(
    points: np.ndarray | Mapping[str, np.ndarray],
    pids: Sequence[int],
    camids: Sequence[int] | None = None,
    title: str | None = None,
    note: str | None = None,
    panel: float = 4.6,
) -> Figure:
    """Identities as colours, cameras as shapes.

    Args:
        points (np.ndarray | Mapping[str, np.ndarray]): (N, 2) from
            :func:`~mmreid_gcl.visualization.project`; or several, by name, of the
            same images: side by side, as figure 7 has them.
        pids (Sequence[int]): (N,) identities; -1 is not known, in grey.
        camids (Sequence[int], optional): (N,) cameras.
        title (str, optional): Heading.
        note (str, optional): A small line below, for example the method.
        panel (float): Width of a panel in inches. Defaults to 4.6.

    Returns:
        Figure: One axes a panel, all with equal scales in x and y; no ticks,
        as the units mean nothing.

    Raises:
        ValueError: If there is no point, a point is not finite, or lengths
            differ.
    """
    panels = dict(points) if isinstance(points, Mapping) else {'': points}
    pids = np.asarray(pids)
    camids = None if camids is None else np.asarray(camids)
    panels = {name: _check(name, value, pids) for name, value in panels.items()}
    if not panels or len(pids) == 0:
        raise ValueError('embedding_map: there is no point to show.')
    if camids is not None and len(camids) != len(pids):
        raise ValueError(
            f'embedding_map: camids has {len(camids)} entries, pids {len(pids)}.'
        )
    colors = {
        pid: color if pid >= 0 else '#aaaaaa'
        for pid, color in _with_unknown(pids).items()
    }
    markers = {0: 'o'} if camids is None else markers_of(camids.tolist())

    legend_width, margin, gap = 1.75, 0.2, 0.2
    below = 0.5 if note else 0.25
    above = (0.4 if title else 0.1) + (0.3 if any(panels) else 0.0)
    entries = (min(len(colors), _MOST_IN_LEGEND) + len(markers)) * 0.18 + 1.0
    side = max(panel, entries - above - below + 0.2)
    width = margin + len(panels) * (panel + gap) + legend_width
    height = above + side + below
    figure = new_figure(width, height)
    if title:
        figure.text(
            margin / width,
            1 - 0.24 / height,
            title,
            fontsize=12,
            family=FONT,
            weight='bold',
            color=INK,
            va='center',
            parse_math=False,
        )
    for n, (name, where) in enumerate(panels.items()):
        left = margin + n * (panel + gap)
        axes = figure.add_axes(
            (left / width, below / height, panel / width, side / height)
        )
        _scatter(axes, where, pids, camids, colors, markers)
        axes.set_title(name, fontsize=10, family=FONT, parse_math=False)
    _legends(figure, axes, colors, markers, camids is not None)
    if note:
        figure.text(
            margin / width,
            0.22 / height,
            note,
            fontsize=8,
            family=FONT,
            color=FAINT,
            parse_math=False,
        )
    return figure


def _check(name: str, points: np.ndarray, pids: np.ndarray) -> np.ndarray:
    points = np.asarray(points, dtype=np.float64)
    what = f'points[{name!r}]' if name else 'points'
    if points.shape != (len(pids), 2):
        raise ValueError(
            f'embedding_map: expected {what} of shape ({len(pids)}, 2), a point for '
            f'each of the pids, got {points.shape}.'
        )
    if not np.isfinite(points).all():
        raise ValueError(f'embedding_map: {what} hold NaN or Inf.')
    return points


def _with_unknown(pids: np.ndarray) -> dict[int, str]:
    known = colors_of(pids[pids >= 0].tolist())
    return ({-1: ''} if (pids < 0).any() else {}) | known


def _scatter(axes, points, pids, camids, colors, markers) -> None:
    size = float(np.clip(9000 / max(len(points), 1), 9, 42))
    shades = np.array([colors[max(pid, -1)] for pid in pids.tolist()])
    # one order for all, so that no camera hides the others
    for camera, marker in markers.items():
        rows = slice(None) if camids is None else camids == camera
        drawn = axes.scatter(
            points[rows, 0],
            points[rows, 1],
            s=size,
            c=shades[rows],
            marker=marker,
            linewidths=0.4,
            edgecolors='white',
            alpha=0.9,
        )
        drawn.set_gid(f'camera-{camera}')
    axes.set(xticks=[], yticks=[])
    axes.set_aspect('equal', adjustable='datalim')
    for spine in axes.spines.values():
        spine.set_color('#bbbbbb')


def _legends(figure, axes, colors, markers, cameras: bool) -> None:
    style = dict(
        loc='upper left',
        frameon=False,
        fontsize=8,
        title_fontsize=9,
        alignment='left',
        handletextpad=0.4,
        borderaxespad=0.0,
        labelspacing=0.35,
    )
    top = 1.0
    if cameras:
        handles = [
            Line2D([], [], color=INK, marker=marker, linestyle='', label=str(camera))
            for camera, marker in markers.items()
        ]
        first = axes.legend(
            handles=handles, title='camera', bbox_to_anchor=(1.04, top), **style
        )
        axes.add_artist(first)
        inches = axes.get_position().height * figure.get_figheight()
        top -= (0.18 * len(handles) + 0.4) / inches
    shown = list(colors.items())[:_MOST_IN_LEGEND]
    handles = [
        Line2D(
            [],
            [],
            color=color,
            marker='o',
            linestyle='',
            label='not known' if pid < 0 else str(pid),
        )
        for pid, color in shown
    ]
    if len(colors) > len(shown):
        handles.append(
            Line2D([], [], linestyle='', label=f'and {len(colors) - len(shown)} more')
        )
    axes.legend(handles=handles, title='identity', bbox_to_anchor=(1.04, top), **style)
