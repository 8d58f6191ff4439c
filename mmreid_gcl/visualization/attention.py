# SPDX-License-Identifier: Apache-2.0
"""Attention within a graph (figure 6 of the paper)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from .canvas import FAINT, FONT, INK, MARGIN, camera_words, check_length, fit, wrap
from .palette import colors_of
from .sheet import Box, Sheet, check_image, thumbnail_width

_GAP = 0.05  # above the map
_NUMBERS = 0.26  # of the ticks, on its left


def attention_map(
    attention: np.ndarray,
    images: Sequence[np.ndarray] | None = None,
    pids: Sequence[int] | None = None,
    camids: Sequence[object] | None = None,
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
        camids (Sequence, optional): B cameras, names or numbers: a line of text.
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
        check_length(f'attention_map: {name}', values, size, 'nodes')
    if images is not None:
        images = [check_image(a, f'images[{i}]') for i, a in enumerate(images)]

    # bands from the map outwards: identities, cameras, images
    row, tall, narrow = cell, 0.0, 0.0
    if images is not None:
        ratio = thumbnail_width(images, 1.0)
        tall = cell / ratio
        row = float(np.clip(1.4 * cell, cell, tall))  # else those on the left are tiny
        narrow = min(row * ratio, 1.5 * row)
    strip = 0.0 if pids is None else 0.24
    words = 0.0 if camids is None else 0.22
    left = MARGIN + 0.25 + narrow + words + strip + _NUMBERS
    width = max(left + size * cell + 1.05 + MARGIN, 4.4)
    heading = wrap(title, width - 2 * MARGIN, 12)
    top = MARGIN + 0.22 * len(heading) + 0.15 + tall + words + strip + _GAP
    top = max(top, 0.6)  # room for the words above the colour bar
    right, bottom = left + size * cell, top + size * row
    sheet = Sheet(width, bottom + 0.65)
    sheet.heading(heading)
    colors = {} if pids is None else colors_of(pids)
    for i in range(size):
        for side, near, thick in (('column', _GAP, tall), ('row', _NUMBERS, narrow)):

            def box(inside: float, band: float, i=i, side=side) -> Box:
                """Of a band as wide as ``band``, ``inside`` inches off the map."""
                if side == 'column':
                    return left + i * cell, top - inside - band, cell, band
                return left - inside - band, top + i * row, band, row

            turn = 90 if side == 'row' else 0
            if pids is not None:
                color = colors[pids[i]]
                style = dict(facecolor=color, edgecolor='white')
                sheet.rectangle(box(near, strip), f'{side}-{i}', **style)
                # smaller cells have no room for numbers
                number = str(pids[i]) if cell >= 0.3 else ''
                brightness = np.dot(to_rgb(color), (0.299, 0.587, 0.114))
                ink = 'white' if brightness < 0.55 else INK
                middle = _middle(box(near, strip))
                sheet.text(*middle, number, 7, ink, weight='bold', rotation=turn)
            if camids is not None:
                middle = _middle(box(near + strip, words))
                name = fit(camera_words(camids[i]), cell, 7)
                sheet.text(*middle, name, 7, FAINT, rotation=turn)
            if images is not None:
                # a little smaller, so that those beside each other do not touch
                x, y, w, h = box(near + strip + words, thick)
                place = x + 0.03 * w, y + 0.02 * h, 0.94 * w, 0.96 * h
                sheet.thumbnail(images[i], *place)

    axes = sheet.place(left, top, right - left, bottom - top)
    limit = float(attention.max()) if vmax is None else float(vmax)
    shown = axes.imshow(attention, cmap='viridis', vmin=0, vmax=limit, aspect='auto')
    ticks = range(0, size, max(1, size // 16))
    axes.set_xticks(ticks, [str(t + 1) for t in ticks], fontsize=7, family=FONT)
    axes.set_yticks(ticks, [str(t + 1) for t in ticks], fontsize=7, family=FONT)
    axes.tick_params(length=2, color=FAINT)
    bar = sheet.place(right + 0.2, top, 0.16, bottom - top)
    sheet.figure.colorbar(shown, cax=bar)
    bar.tick_params(labelsize=8)
    if 1 / size <= limit:
        bar.axhline(1 / size, color='white', linewidth=1.5)
        bar.axhline(1 / size, color=INK, linewidth=1.5, linestyle=(0, (2, 2)))
        note = f'dashed: uniform, 1/{size}'
        sheet.text(width - MARGIN, bottom + 0.38, note, 7.5, FAINT, 'right')
    sheet.text(right + 0.2, top - 0.12, 'attention m', 8, FAINT, 'left')
    sheet.text((left + right) / 2, bottom + 0.38, 'node attended to, j', 9)
    middle = (MARGIN, (top + bottom) / 2)
    sheet.text(*middle, 'attending node, i', 9, rotation=90)
    return sheet.figure


def _middle(box: Box) -> tuple[float, float]:
    x, y, width, height = box
    return x + width / 2, y + height / 2


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
