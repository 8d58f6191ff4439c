# SPDX-License-Identifier: Apache-2.0
"""Colours, markers and line styles."""

from __future__ import annotations

import colorsys
from collections.abc import Iterable
from typing import Any

from matplotlib.colors import to_hex

#: Okabe and Ito's colours, told apart by most colour-blind people, then
#: darker and paler ones of the same hues.
COLORS = (
    '#0072b2', '#d55e00', '#009e73', '#cc79a7', '#e69f00', '#56b4e9',
    '#7a4f1d', '#222222', '#8f7ee6', '#b8b000', '#8b0f2f', '#7fcfae',
)  # fmt: skip
MARKERS = ('o', '^', 's', 'D', 'v', 'P', 'X', '*', '<', '>', 'p', 'h')
LINES = ('-', '--', ':', '-.')


def color_at(position: int) -> str:
    """The n-th colour, ``#rrggbb``; after :data:`COLORS` hues by the golden ratio."""
    if position < len(COLORS):
        return COLORS[position]
    extra = position - len(COLORS)
    hue = extra * 0.618034 % 1.0
    lightness = (0.35, 0.5, 0.65)[extra % 3]
    return to_hex(colorsys.hls_to_rgb(hue, lightness, 0.75))


def colors_of(keys: Iterable[Any]) -> dict[Any, str]:
    """A colour for each different key, sorted."""
    return {key: color_at(n) for n, key in enumerate(sorted(set(keys)))}
