# SPDX-License-Identifier: Apache-2.0
"""Title above and notes below the axes of a figure, placed in inches."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure

from .canvas import FONT
from .sheet import FAINT, INK

_LEFT, _LINE = 0.2, 0.24
_STYLE = dict(family=FONT, va='center', parse_math=False)


def draw_heading(figure: Figure, lines: Sequence[str], top: float = 0.25) -> None:
    """Write the lines of the title; each takes 0.24 inches.

    Args:
        figure (Figure): The figure.
        lines (Sequence[str]): From above; may be none.
        top (float): Middle of the first, inches from above. Defaults to 0.25.
    """
    width, height = figure.get_size_inches()
    for n, line in enumerate(lines):
        y = 1 - (top + _LINE * n) / height
        figure.text(
            _LEFT / width, y, line, fontsize=12, weight='bold', color=INK, **_STYLE
        )


def draw_notes(
    figure: Figure, lines: Sequence[str], bottom: float, step: float
) -> None:
    """Write the lines of the note.

    Args:
        figure (Figure): The figure.
        lines (Sequence[str]): From above; may be none.
        bottom (float): Middle of the last one, inches from below.
        step (float): Inches that each takes.
    """
    width, height = figure.get_size_inches()
    for n, line in enumerate(reversed(lines)):
        y = (bottom + step * n) / height
        figure.text(_LEFT / width, y, line, fontsize=7.5, color=FAINT, **_STYLE)
