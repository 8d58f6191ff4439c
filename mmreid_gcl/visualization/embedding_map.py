# SPDX-License-Identifier: Apache-2.0
"""A 2-D map of embeddings (figure 7 of the paper)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle

import numpy as np
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.lines import Line2D

from .canvas import INK, WORDS, camera_words, chart, check_length, fit
from .palette import MARKERS, colors_of

_MOST_IN_LEGEND = 24


def embedding_map(
    points: np.ndarray | Mapping[str, np.ndarray],
    pids: Sequence[int],
    camids: Sequence[int] | None = None,
    title: str | None = None,
    note: str | None = None,
    panel: float = 4.6,
    camera_names: Mapping[int, str] | None = None,
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
        camera_names (Mapping[int, str], optional): Of the numbers in ``camids``.

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
    check_length('embedding_map: camids', camids, len(pids), 'pids')
    colors = {-1: '#aaaaaa'} if (pids < 0).any() else {}
    colors |= colors_of(pids[pids >= 0].tolist())
    cameras = [0] if camids is None else np.unique(camids).tolist()
    markers = dict(zip(cameras, cycle(MARKERS)))
    given = dict(camera_names or {})
    names = [fit(camera_words(given.get(c, c)), 1.1, 8) for c in cameras]
    entries = 0.18 * (min(len(colors), _MOST_IN_LEGEND) + len(markers)) + 1.0
    width = len(panels) * (panel + 0.2) + 1.75
    width += 0.07 * max(0, max(map(len, names)) - 9)
    figure = chart(width, max(panel + 0.3, entries), title, note)
    row = figure.subplots(1, len(panels), squeeze=False)[0]
    for axes, (name, where) in zip(row, panels.items()):
        _scatter(axes, where, pids, camids, colors, markers)
        axes.set_title(name, fontsize=10, **WORDS)
    people = [
        _key('not known' if pid < 0 else str(pid), 'o', color)
        for pid, color in list(colors.items())[:_MOST_IN_LEGEND]
    ]
    if len(colors) > len(people):
        more = f'and {len(colors) - len(people)} more'
        people.append(Line2D([], [], linestyle='', label=more))
    if camids is not None:
        shapes = [_key(*entry) for entry in zip(names, markers.values())]
        legend = axes.add_artist(_legend(axes, shapes, 'camera', 'lower left', 0))
        legend.set_clip_on(False)  # else the layout leaves no room for it
    _legend(axes, people, 'identity', 'upper left', 1)
    return figure


def _key(label: str, marker: str, color: str = INK) -> Line2D:
    return Line2D([], [], color=color, marker=marker, linestyle='', label=label)


def _legend(axes, handles: list[Line2D], title: str, corner: str, y: float) -> Legend:
    """To the right of the axes."""
    place = dict(loc=corner, bbox_to_anchor=(1.04, y), alignment='left', frameon=False)
    apart = dict(handletextpad=0.4, borderaxespad=0.0, labelspacing=0.35)
    sizes = dict(fontsize=8, title_fontsize=9)
    return axes.legend(handles=handles, title=title, **place, **apart, **sizes)


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


def _scatter(axes, points, pids, camids, colors, markers) -> None:
    size = float(np.clip(9000 / max(len(points), 1), 9, 42))
    shades = np.array([colors[max(pid, -1)] for pid in pids.tolist()])
    # one order for all, so that no camera hides the others
    for camera, marker in markers.items():
        rows = slice(None) if camids is None else camids == camera
        style = dict(linewidths=0.4, edgecolors='white', alpha=0.9)
        look = dict(s=size, c=shades[rows], marker=marker, **style)
        axes.scatter(*points[rows].T, gid=f'camera-{camera}', **look)
    axes.set(xticks=[], yticks=[])
    axes.set_aspect('equal', adjustable='datalim')
    for spine in axes.spines.values():
        spine.set_color('#bbbbbb')
