# SPDX-License-Identifier: Apache-2.0
"""Figures without global state: safe in threads and without a display."""

from __future__ import annotations

import base64
import io
import textwrap
from collections.abc import Sequence, Sized
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

#: Comes with matplotlib and has the check and the cross of the sheets.
FONT = 'DejaVu Sans'
INK = '#222222'
FAINT = '#6a6a6a'
#: Of texts from outside, in which ``$`` is a dollar, not mathematics.
WORDS: dict[str, Any] = dict(family=FONT, parse_math=False)
#: Inches between the edge of a figure and its title, and of a line of the title.
MARGIN, LINE = 0.2, 0.24


def new_figure(width: float, height: float) -> Figure:
    """An empty white figure on an Agg canvas, unknown to pyplot; sizes in inches."""
    figure = Figure(figsize=(width, height), dpi=100, facecolor='white')
    FigureCanvasAgg(figure)
    return figure


def wrap(text: str | None, width: float, size: float) -> list[str]:
    """Lines that fit ``width`` inches in bold letters of ``size`` points.

    By the mean width of a letter of :data:`FONT`; '' and None have no line.
    """
    return textwrap.wrap(text or '', max(8, int(width * 72 / (0.68 * size))))


def chart(
    width: float,
    height: float,
    title: str | None = None,
    note: str | None = None,
    keys: Sequence[Artist] = (),
    columns: int = 1,
) -> Figure:
    """A figure whose axes matplotlib arranges between a title and a note.

    ``height`` (inches) is that of the axes with their labels; title and note are broken
    into lines, and a legend of ``keys`` stands below the title.
    """
    heading = wrap(title, width - 2 * MARGIN, 12)
    # not bold, so more of it fits
    notes = wrap(note, width - 2 * MARGIN, 0.9 * 7.5)
    top = 0.12 + LINE * len(heading) if heading else 0.05
    legend = 0.1 + 0.21 * -(-len(keys) // columns) if keys else 0
    bottom = 0.12 + 0.15 * len(notes) if notes else 0.05
    total = top + legend + height + bottom
    figure = new_figure(width, total)
    rect = (0.01, bottom / total, 0.98, height / total)
    figure.set_layout_engine('constrained', rect=rect, w_pad=0.08, h_pad=0.08)
    x = MARGIN / width
    if heading:
        style = dict(fontsize=12, weight='bold', color=INK, linespacing=1.3, **WORDS)
        figure.text(x, 1 - 0.12 / total, '\n'.join(heading), va='top', **style)
    if notes:
        style = dict(fontsize=7.5, color=FAINT, linespacing=1.3, **WORDS)
        figure.text(x, 0.1 / total, '\n'.join(notes), va='bottom', **style)
    if keys:
        place = dict(loc='upper left', bbox_to_anchor=(x, 1 - top / total))
        style = dict(fontsize=9, frameon=False, borderaxespad=0.2, borderpad=0)
        drawn = figure.legend(handles=keys, ncols=columns, **place, **style)
        for text in drawn.get_texts():
            text.set(color=FAINT, parse_math=False)
    return figure


def camera_words(camera: object) -> str:
    """A camera as captions name it: its name, or 'cam 3' where that is a number.

    What is no UTF-8 in the name of a folder becomes an escape.
    """
    name = str(camera).encode('utf-8', 'backslashreplace').decode()
    return f'cam {name}' if name.isdecimal() else name


def fit(text: str, width: float, size: float) -> str:
    """A line cut in its middle to fit ``width`` inches in letters of ``size`` points.

    By the mean width of a letter of :data:`FONT`; names often differ at their end.
    """
    room = max(5, int(width * 72 / (0.6 * size)))
    if len(text) <= room:
        return text
    return f'{text[: (room - 1) // 2]}…{text[len(text) - room // 2 :]}'


def check_length(name: str, values: Sized | None, count: int, of: str) -> None:
    """Raise a ValueError unless there is one of ``values``, if given, for each."""
    if values is not None and len(values) != count:
        raise ValueError(
            f'{name} has {len(values)} entries for {count} {of}. Give one for each.'
        )


def plain(axes: Axes, grid: str) -> None:
    """Thin grid lines along 'x', 'y' or 'both', no line above and to the right."""
    axes.grid(axis=grid, color='#e4e4e4', linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[['top', 'right']].set_visible(False)
    axes.tick_params(which='both', labelsize=8.5)


def check_figure_path(path: str | Path) -> Path:
    """Raise a ValueError, before a long computation, if no figure can end so."""
    path = Path(path)
    formats = FigureCanvasAgg.get_supported_filetypes()
    if path.suffix[1:].lower() not in formats:
        raise ValueError(
            f'{path}: the ending of a figure file must be one of '
            f'{", ".join(sorted(formats))}.'
        )
    return path


def save_figure(figure: Figure, path: str | Path, dpi: int = 150) -> Path:
    """Write a figure in the format of the ending; its folder is made if need be.

    An unknown format is a ValueError.
    """
    path = check_figure_path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=dpi)
    return path


def figure_to_image(figure: Figure, dpi: int = 100) -> np.ndarray:
    """The pixels of a figure, (h, w, 3) uint8 red green blue, ``dpi`` to the inch."""
    with Image.open(_png(figure, dpi)) as picture:
        return np.array(picture.convert('RGB'))


def figure_to_data_uri(figure: Figure, dpi: int = 100) -> str:
    """A figure as a PNG in a ``data:image/png;base64,...``, for one-file reports."""
    content = base64.b64encode(_png(figure, dpi).getvalue()).decode()
    return f'data:image/png;base64,{content}'


def _png(figure: Figure, dpi: int) -> io.BytesIO:
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=dpi, format='png')
    return buffer
