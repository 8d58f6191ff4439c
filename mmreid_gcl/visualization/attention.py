# SPDX-License-Identifier: Apache-2.0
"""Attention within a graph (figure 6 of the paper)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from .canvas import FONT
from .palette import colors_of
from .sheet import FAINT, INK, Sheet, check_image, thumbnail_width, wrap

_MARGIN = 0.25
_STRIP = 0.24
_GAP = 0.05
_NUMBERS = 0.26


def attention_map(
    attention: np.ndarray,
    images: Sequence[np.ndarray] | None = None,
    pids: Sequence[int] | None = None,
    camids: Sequence[int] | None = None,
    title: str | None = None,
    vmax: float | None = None,
    cell: float = 0.44,
) -> Figure:
    """Heat map of ``m_ij`` (eq. 1 and 2), with the images on both axes.

    The scale begins at 0, and 1/B, what uniform attention has, is marked on it.

    Args:
        attention (np.ndarray): (B, B); row i is how node i spreads its
            attention, and sums to 1.
        images (Sequence[np.ndarray], optional): B images, (H, W, 3) uint8.
        pids (Sequence[int], optional): B identities: a strip of colours, with
            the numbers, along both axes.
        camids (Sequence[int], optional): B cameras: a line of text.
        title (str, optional): Heading.
        vmax (float, optional): Upper end of the colour scale; give the same
            one to figures that are to be compared. Defaults to the maximum.
        cell (float): Width of a cell in inches. Defaults to 0.44.

    Returns:
        Figure: Axes: thumbnails, strips and words; heat map; colour bar.

    Raises:
        ValueError: If the attention is not square, holds NaN, Inf or negative
            values, or the other arguments are not of length B.
    """
    attention = _check(attention)
    size = len(attention)
    for name, values in (('images', images), ('pids', pids), ('camids', camids)):
        if values is not None and len(values) != size:
            raise ValueError(
                f'attention_map: {name} has {len(values)} entries, but the graph has '
                f'{size} nodes.'
            )
    if images is not None:
        images = [check_image(a, f'images[{i}]') for i, a in enumerate(images)]

    wide = 0.94 * cell  # thumbnails on top
    tall, narrow, row = 0.0, 0.0, cell
    if images is not None:
        ratio = thumbnail_width(images, 1.0)
        tall = wide / ratio
        row = float(np.clip(1.4 * cell, cell, tall))  # else those on the left are tiny
        narrow = min(0.96 * row * ratio, 1.5 * row)
    strip = 0.0 if pids is None else _STRIP
    words = 0.0 if camids is None else 0.22
    left = _MARGIN + 0.25 + narrow + words + strip + _NUMBERS
    map_width, map_height = size * cell, size * row
    width = max(left + map_width + 1.05 + _MARGIN, 4.4)
    heading = wrap(title or '', width - 2 * _MARGIN, 12)
    top = _MARGIN + 0.22 * len(heading) + 0.15 + tall + words + strip + _GAP
    top = max(top, 0.6)  # room for the words above the colour bar
    height = top + map_height + 0.65
    sheet = Sheet(width, height)
    for n, line in enumerate(heading):
        y = _MARGIN + 0.06 + 0.22 * n
        sheet.text(_MARGIN, y, line, 12, align='left', weight='bold')

    colors = None if pids is None else colors_of(list(pids))
    for i in range(size):
        across, down = left + (i + 0.5) * cell, top + (i + 0.5) * row
        # from the map outwards: identity, camera, image
        x, y = left - _NUMBERS, top - _GAP
        if colors is not None and pids is not None:
            x, y = x - strip, y - strip
            # smaller cells have no room for numbers
            color, number = colors[pids[i]], str(pids[i]) if cell >= 0.3 else ''
            ink = _ink_on(color)
            _strip(sheet, (x, down - row / 2, strip, row), color, f'row-{i}')
            text = sheet.text(x + strip / 2, down, number, 7, ink, weight='bold')
            text.set_rotation(90)
            _strip(sheet, (across - cell / 2, y, cell, strip), color, f'column-{i}')
            sheet.text(across, y + strip / 2, number, 7, ink, weight='bold')
        if camids is not None:
            x, y = x - words, y - words
            sheet.text(x + words / 2, down, f'c{camids[i]}', 7, FAINT)
            sheet.text(across, y + words / 2, f'c{camids[i]}', 7, FAINT)
        if images is not None:
            sheet.thumbnail(
                images[i], x - narrow, down - 0.48 * row, narrow, 0.96 * row
            )
            sheet.thumbnail(images[i], across - wide / 2, y - tall, wide, tall)
    middle = left + map_width / 2
    sheet.text(middle, top + map_height + 0.38, 'node attended to, j', 9)
    row_label = sheet.text(_MARGIN, top + map_height / 2, 'attending node, i', 9)
    row_label.set_rotation(90)

    axes = sheet.figure.add_axes(
        (
            left / width,
            1 - (top + map_height) / height,
            map_width / width,
            map_height / height,
        )
    )
    limit = float(attention.max()) if vmax is None else float(vmax)
    shown = axes.imshow(attention, cmap='viridis', vmin=0, vmax=limit, aspect='auto')
    ticks = range(0, size, max(1, size // 16))
    axes.set_xticks(ticks, [str(t + 1) for t in ticks], fontsize=7, family=FONT)
    axes.set_yticks(ticks, [str(t + 1) for t in ticks], fontsize=7, family=FONT)
    axes.tick_params(length=2, color=FAINT)
    bar_axes = sheet.figure.add_axes(
        (
            (left + map_width + 0.2) / width,
            1 - (top + map_height) / height,
            0.16 / width,
            map_height / height,
        )
    )
    bar = sheet.figure.colorbar(shown, cax=bar_axes)
    bar.ax.tick_params(labelsize=8)
    uniform = 1 / size
    if uniform <= limit:
        bar.ax.axhline(uniform, color='white', linewidth=1.5)
        bar.ax.axhline(uniform, color=INK, linewidth=1.5, linestyle=(0, (2, 2)))
    note = f'dashed: uniform, 1/{size}' if uniform <= limit else ''
    sheet.text(
        width - _MARGIN, top + map_height + 0.38, note, 7.5, FAINT, align='right'
    )
    sheet.text(
        left + map_width + 0.2, top - 0.12, 'attention m', 8, FAINT, align='left'
    )
    return sheet.figure


def _check(attention: np.ndarray) -> np.ndarray:
    attention = np.asarray(attention, dtype=np.float64)
    if attention.ndim != 2 or attention.shape[0] != attention.shape[1]:
        raise ValueError(
            'attention_map: expected the attention of one graph, shape (B, B), got '
            f'{attention.shape}.'
        )
    if attention.size == 0:
        raise ValueError('attention_map: the graph has no node.')
    if not np.isfinite(attention).all() or (attention < 0).any():
        raise ValueError(
            'attention_map: attention scores must be finite and not negative; these '
            'are not the rows of a softmax.'
        )
    return attention


def _strip(sheet: Sheet, box: tuple, color: str, gid: str) -> None:
    x, y, width, height = box
    patch = Rectangle((x, y), width, height, facecolor=color, edgecolor='white')
    patch.set_gid(gid)
    sheet.axes.add_patch(patch)


def _ink_on(color: str) -> str:
    red, green, blue = (int(color[i : i + 2], 16) for i in (1, 3, 5))
    return 'white' if 0.299 * red + 0.587 * green + 0.114 * blue < 140 else INK
