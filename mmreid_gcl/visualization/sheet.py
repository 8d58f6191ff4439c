# SPDX-License-Identifier: Apache-2.0
"""Sheets of thumbnails, placed in inches from the upper left corner."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patches import Rectangle
from matplotlib.text import Text

from .canvas import FAINT, INK, MARGIN, WORDS, fit, new_figure, wrap

_GAP = 0.12  # between two thumbnails
#: Left edge, upper edge, width and height in inches.
Box: TypeAlias = tuple[float, float, float, float]


class Look(NamedTuple):
    """How a frame is drawn; the mark says without colour what the colour says."""

    color: str
    style: str | tuple = 'solid'
    mark: str = ''
    thickness: float = 3.0


#: Of what is right, wrong, and not known.
LOOKS: dict[bool | None, Look] = {
    True: Look('#1a8f3c', 'solid', '✓'),
    False: Look('#d01c1c', (0, (4, 1.5)), '✗'),
    None: Look('#8a8a8a', 'dotted'),
}


@dataclass(frozen=True)
class Cell:
    """A thumbnail with what stands around it."""

    image: np.ndarray  #: (H, W, 3) uint8
    captions: Sequence[tuple[str, str]] = ()  #: Lines below, each with its colour
    look: Look | None = None  #: Of its frame; None has none
    gid: str = ''  #: Id of the frame (``get_gid``)


def check_image(image: np.ndarray, name: str) -> np.ndarray:
    """An image, (H, W, 3) red green blue or (H, W) grey, as (H, W, 3) uint8."""
    image = np.asarray(image)
    if image.dtype != np.uint8:
        raise TypeError(
            f'{name}: expected a uint8 image with values 0 to 255, got '
            f'{image.dtype}. Convert it, for example with (x * 255).astype(np.uint8).'
        )
    if image.ndim == 2:
        image = np.repeat(image[..., None], 3, axis=2)
    if image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise ValueError(
            f'{name}: expected an image of shape (H, W, 3), red green blue, or '
            f'(H, W), got {image.shape}.'
        )
    return image


def thumbnail_width(images: Sequence[np.ndarray], height: float) -> float:
    """Width of the cells that suit most of the images, by their median proportions.

    Within 0.3 and 2 times the height, in inches as this.
    """
    ratio = np.median([image.shape[1] / image.shape[0] for image in images])
    return float(height * np.clip(ratio, 0.3, 2.0))


class Sheet:
    """A figure with one axes that measures inches, downwards from the upper left."""

    def __init__(self, width: float, height: float) -> None:
        self.width, self.height = width, height
        self.figure: Figure = new_figure(width, height)
        self.axes = self.place(0, 0, width, height)
        self.axes.set_axis_off()
        self._fit()

    def place(self, x: float, y: float, width: float, height: float) -> Axes:
        """More axes, whose corner and size are in inches."""
        below = self.height - y - height
        inches = np.array([x, below, width, height])
        return self.figure.add_axes(
            tuple(inches / [self.width, self.height, self.width, self.height])
        )

    def _fit(self) -> None:
        self.axes.set(xlim=(0, self.width), ylim=(self.height, 0), aspect='auto')

    def heading(self, lines: Sequence[str]) -> None:
        """The title; each line takes 0.22 inches."""
        for n, line in enumerate(lines):
            y = MARGIN + 0.1 + 0.22 * n
            self.text(MARGIN, y, line, 12, align='left', weight='bold')

    def thumbnail(
        self, image: np.ndarray, x: float, y: float, width: float, height: float
    ) -> AxesImage:
        """Show an (H, W, 3) uint8 image within a box, centred, with its proportions."""
        scale = min(width / image.shape[1], height / image.shape[0])
        w, h = image.shape[1] * scale, image.shape[0] * scale
        left, top = x + (width - w) / 2, y + (height - h) / 2
        shown = self.axes.imshow(
            image, extent=(left, left + w, top + h, top), aspect='auto', zorder=1
        )
        self._fit()  # imshow moves the limits
        return shown

    def rectangle(self, box: Box, gid: str, **style) -> None:
        """A rectangle with an id, and with the style of matplotlib's patches."""
        x, y, width, height = box
        patch = Rectangle((x, y), width, height, gid=gid, zorder=2, **style)
        self.axes.add_patch(patch)

    def frame(self, box: Box, look: Look, gid: str) -> None:
        """A frame around a box."""
        line = dict(linestyle=look.style, linewidth=look.thickness, joinstyle='miter')
        self.rectangle(box, gid, fill=False, edgecolor=look.color, **line)

    def text(
        self,
        x: float,
        y: float,
        text: str,
        size: float = 8,
        color: str = INK,
        align: str = 'center',
        vertical: str = 'center',
        **style,
    ) -> Text:
        """Write at a point, in matplotlib's style of texts."""
        style = dict(fontsize=size, color=color, ha=align, va=vertical, **style)
        return self.axes.text(x, y, text, zorder=3, **WORDS, **style)


def thumbnail_rows(
    rows: Sequence[Sequence[Cell]],
    height: float,
    title: str | None = None,
    subtitle: str = '',
    heads: Sequence[str] = (),
    words: Sequence[str] = (),
    legend: Sequence[tuple[Look | None, str]] = (),
    apart: float = 0.0,
    alone: str = '',
) -> Figure:
    """Rows of thumbnails, ``height`` inches tall; rows may differ in length.

    ``heads`` stand above the columns, ``words`` above each row, ``subtitle`` below the
    title and ``legend`` below all; ``apart`` are inches between the first column and
    the others; ``alone`` stands beside the thumbnail of a row that has no other. The
    texts of the axes begin with the title, a line each.
    """
    cells = [cell for row in rows for cell in row]
    # captions need some width whatever the images' proportions
    width = max(thumbnail_width([cell.image for cell in cells], height), 0.62)
    lines = max(sum(1 + t.count('\n') for t, _ in cell.captions) for cell in cells)
    columns = max(map(len, rows))
    lefts = MARGIN + np.arange(columns) * (width + _GAP)
    lefts[1:] += apart
    entries, key_end = [], MARGIN
    for look, text in legend:
        text = f'{look.mark} {text}'.strip() if look else text
        entries.append((key_end, look, text))
        key_end += 0.55 + 0.085 * len(text)
    total_width = max(lefts[-1] + width + MARGIN, key_end, 6.0)
    heading = wrap(title, total_width - 2 * MARGIN, 12)
    above = 0.28 if words else 0.0
    each = above + height + 0.16 + 0.145 * lines
    top = MARGIN + 0.22 * len(heading) + (0.3 if subtitle else 0.0)
    top += 0.28 if heads else 0.05
    total_height = top + len(rows) * each + (0.4 if legend else 0.05)
    sheet = Sheet(total_width, total_height)
    sheet.heading(heading)
    if subtitle:
        y = MARGIN + 0.22 * len(heading) + 0.12
        sheet.text(MARGIN, y, subtitle, 9, FAINT, 'left')
    for x, text in zip(lefts, heads):
        sheet.text(x + width / 2, top - 0.14, text, 9, FAINT)
    for n, row in enumerate(rows):
        y = top + n * each
        if words:
            sheet.text(MARGIN, y + 0.14, words[n], 9, align='left')
        if alone and len(row) == 1:
            x = MARGIN + width + _GAP + apart
            sheet.text(x, y + above + height / 2, alone, 9, align='left')
        for x, cell in zip(lefts, row):
            shown = sheet.thumbnail(cell.image, x, y + above, width, height)
            if cell.look is not None:
                left, right, bottom, upper = shown.get_extent()
                box = (left, upper, right - left, bottom - upper)
                sheet.frame(box, cell.look, cell.gid)
            below = y + above + height + 0.05
            for text, color in cell.captions:
                parts = (fit(line, width + _GAP, 7.5) for line in text.split('\n'))
                text = '\n'.join(parts)
                sheet.text(x + width / 2, below, text, 7.5, color, vertical='top')
                below += 0.145
    y = total_height - 0.25
    for x, look, text in entries:
        if look is not None:
            box = (x, y - 0.09, 0.26, 0.18)
            sheet.frame(box, look._replace(thickness=2.5), 'legend')
            x += 0.36
        sheet.text(x, y, text, 9, look.color if look else FAINT, 'left')
    return sheet.figure
