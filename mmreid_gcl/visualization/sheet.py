# SPDX-License-Identifier: Apache-2.0
"""A sheet of thumbnails, placed in inches from the upper left corner."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patches import Rectangle
from matplotlib.text import Text

from .canvas import FONT, new_figure

INK = '#222222'
FAINT = '#6a6a6a'


def check_image(image: np.ndarray, name: str) -> np.ndarray:
    """Make sure that something can be shown as an image.

    Args:
        image (np.ndarray): (H, W, 3) red green blue or (H, W) grey, uint8.
        name (str): What to call it in an error.

    Returns:
        np.ndarray: (H, W, 3) uint8.

    Raises:
        TypeError: If it is not uint8.
        ValueError: If its shape is no image's.
    """
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
    """Width of the cells that suit most of the images.

    Args:
        images (Sequence[np.ndarray]): Images, (H, W, 3) each.
        height (float): Height of a cell in inches.

    Returns:
        float: Inches, by the median of the aspect ratios, within 0.3 and 2
        times the height.
    """
    ratio = np.median([image.shape[1] / image.shape[0] for image in images])
    return float(height * np.clip(ratio, 0.3, 2.0))


def wrap(text: str, width: float, size: float) -> list[str]:
    """Break a text into lines that fit.

    Args:
        text (str): What to write; '' has no line.
        width (float): Room in inches.
        size (float): Of the bold font in points.

    Returns:
        list[str]: Lines, by the mean width of a letter of :data:`FONT`.
    """
    letters = max(8, int(width * 72 / (0.68 * size)))
    return textwrap.wrap(text, letters)


def box_of(shown: AxesImage) -> tuple[float, float, float, float]:
    """Left, upper edge, width and height of a thumbnail, in inches."""
    left, right, bottom, top = shown.get_extent()
    return left, top, right - left, bottom - top


class Sheet:
    """A figure whose only axes measure inches, downwards from the upper left.

    Args:
        width (float): In inches.
        height (float): In inches.
    """

    def __init__(self, width: float, height: float) -> None:
        self.figure: Figure = new_figure(width, height)
        self.axes = self.figure.add_axes((0, 0, 1, 1))
        self.axes.set_axis_off()
        self._fit()

    def _fit(self) -> None:
        width, height = self.figure.get_size_inches()
        self.axes.set(xlim=(0, width), ylim=(height, 0), aspect='auto')

    def thumbnail(
        self, image: np.ndarray, x: float, y: float, width: float, height: float
    ) -> AxesImage:
        """Show an image within a cell, centred, with its proportions.

        Args:
            image (np.ndarray): (H, W, 3) uint8.
            x (float): Left edge of the cell, inches.
            y (float): Upper edge.
            width (float): Of the cell.
            height (float): Of the cell.

        Returns:
            AxesImage: The artist.
        """
        scale = min(width / image.shape[1], height / image.shape[0])
        w, h = image.shape[1] * scale, image.shape[0] * scale
        left, top = x + (width - w) / 2, y + (height - h) / 2
        shown = self.axes.imshow(
            image, extent=(left, left + w, top + h, top), aspect='auto', zorder=1
        )
        self._fit()  # imshow moves the limits
        return shown

    def frame(
        self,
        x: float,
        y: float,
        width: float,
        height: float,
        color: str,
        style: str | tuple = 'solid',
        thickness: float = 3.0,
        label: str | None = None,
    ) -> Rectangle:
        """Draw a frame around a cell.

        Args:
            x (float): Left edge of the cell, inches.
            y (float): Upper edge.
            width (float): Of the cell.
            height (float): Of the cell.
            color (str): Of the line.
            style (str): Of the line. Defaults to 'solid'.
            thickness (float): Of the line, in points. Defaults to 3.
            label (str, optional): Id of the artist (``get_gid``).

        Returns:
            Rectangle: The artist.
        """
        rectangle = Rectangle(
            (x, y),
            width,
            height,
            fill=False,
            edgecolor=color,
            linestyle=style,
            linewidth=thickness,
            joinstyle='miter',
            zorder=2,
        )
        rectangle.set_gid(label)
        return self.axes.add_patch(rectangle)

    def text(
        self,
        x: float,
        y: float,
        text: str,
        size: float = 8,
        color: str = INK,
        align: str = 'center',
        vertical: str = 'center',
        weight: str = 'normal',
    ) -> Text:
        """Write at a point; ``$`` is a dollar, not mathematics.

        Args:
            x (float): Inches from the left.
            y (float): Inches from above.
            text (str): What to write.
            size (float): In points. Defaults to 8.
            color (str): Of the ink.
            align (str): 'left', 'center' or 'right'. Defaults to 'center'.
            vertical (str): 'top', 'center', 'bottom'. Defaults to 'center'.
            weight (str): Of the font. Defaults to 'normal'.

        Returns:
            Text: The artist.
        """
        return self.axes.text(
            x,
            y,
            text,
            fontsize=size,
            color=color,
            ha=align,
            va=vertical,
            family=FONT,
            weight=weight,
            parse_math=False,
            zorder=3,
        )
