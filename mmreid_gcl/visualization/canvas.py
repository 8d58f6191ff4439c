# SPDX-License-Identifier: Apache-2.0
"""Figures without global state: safe in threads and without a display."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

#: Comes with matplotlib and has the check and the cross of the sheets.
FONT = 'DejaVu Sans'


def new_figure(width: float, height: float) -> Figure:
    """An empty white figure on an Agg canvas, unknown to pyplot.

    Args:
        width (float): In inches.
        height (float): In inches.

    Returns:
        Figure: The figure.
    """
    figure = Figure(figsize=(width, height), dpi=100, facecolor='white')
    FigureCanvasAgg(figure)
    return figure


def check_figure_path(path: str | Path) -> Path:
    """Make sure, before a long computation, that a figure can be written.

    Args:
        path (str | Path): File to write; its ending is the format.

    Returns:
        Path: The same.

    Raises:
        ValueError: If the format is unknown.
    """
    path = Path(path)
    formats = FigureCanvasAgg.get_supported_filetypes()
    if path.suffix[1:].lower() not in formats:
        raise ValueError(
            f'{path}: the ending of a figure file must be one of '
            f'{", ".join(sorted(formats))}.'
        )
    return path


def save_figure(figure: Figure, path: str | Path, dpi: int = 150) -> Path:
    """Write a figure; its folder is made if need be.

    Args:
        figure (Figure): The figure.
        path (str | Path): File to write; its ending is the format.
        dpi (int): Pixels an inch, for pixel formats. Defaults to 150.

    Returns:
        Path: The file.

    Raises:
        ValueError: If the format is unknown.
    """
    path = check_figure_path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=dpi)
    return path


def figure_to_image(figure: Figure, dpi: int = 100) -> np.ndarray:
    """The pixels of a figure, for example for ``Visualizer.add_image``.

    Args:
        figure (Figure): The figure.
        dpi (int): Pixels an inch. Defaults to 100.

    Returns:
        np.ndarray: (h, w, 3) uint8, red green blue.
    """
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=dpi, format='png')
    with Image.open(buffer) as picture:
        return np.array(picture.convert('RGB'))


def figure_to_data_uri(figure: Figure, dpi: int = 100) -> str:
    """A figure as a PNG inside a ``data:`` address, for one-file reports.

    Args:
        figure (Figure): The figure.
        dpi (int): Pixels an inch. Defaults to 100.

    Returns:
        str: ``data:image/png;base64,...``.
    """
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=dpi, format='png')
    return 'data:image/png;base64,' + base64.b64encode(buffer.getvalue()).decode()
