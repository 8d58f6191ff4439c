# SPDX-License-Identifier: Apache-2.0
"""Fabric textures, wrapped around the body or flat along a limb."""

from __future__ import annotations

import numpy as np

from .appearance import Cloth, Person
from .seeds import PERSON, generator

#: Rows (neck to hem) and columns (once around, front in the middle).
ATLAS = (72, 144)
#: Atlas rows that stand for one body height, so that a coat does not get
#: larger stripes than a shirt.
ROWS_PER_HEIGHT = 200.0


def pattern_mask(
    cloth: Cloth, down: np.ndarray, around: np.ndarray, seed: int
) -> np.ndarray:
    """Where the second colour is, (h, w), 0 for the main colour to 1.

    ``down`` (h, 1) is the distance from the top, ``around`` (1, w) that from the
    front's middle to the person's left, in body heights; ``seed`` places patches.
    """
    period = 0.085 * cloth.scale
    rows, columns = down / period, around / period
    shifted = columns + 0.5 * (np.floor(rows) % 2)  # every other row of dots
    patterns = {
        'plain': lambda: 0.0,
        'stripes': lambda: rows % 1 < 0.5,
        'pinstripes': lambda: (columns * 1.3 + 0.25) % 1 < 0.42,
        'checks': lambda: (rows % 1 < 0.5) ^ (columns % 1 < 0.5),
        'plaid': lambda: 0.5 * (rows % 1 < 0.4) + 0.5 * (columns % 1 < 0.4),
        'dots': lambda: (rows % 1 - 0.5) ** 2 + (shifted % 1 - 0.5) ** 2 < 0.11,
        'gradient': lambda: np.clip(down / 0.36, 0, 1),
        'yoke': lambda: down < 0.11 * cloth.scale,
        'halves': lambda: around > 0,
        'band': lambda: np.abs(down - 0.16) < 0.045 * cloth.scale,
        'diagonal': lambda: (rows + columns) * 0.7 % 1 < 0.5,
        'patches': lambda: _patches(down, around, seed),
    }
    if cloth.pattern not in patterns:
        raise ValueError(f'There is no pattern {cloth.pattern!r}.')
    return np.zeros((len(down), around.shape[1])) + patterns[cloth.pattern]()


def _patches(down: np.ndarray, around: np.ndarray, seed: int) -> np.ndarray:
    rng = generator(seed, PERSON, 1)
    mask = np.zeros((len(down), around.shape[1]), bool)
    for _ in range(9):
        y, x = rng.uniform(0, 0.36), rng.uniform(-0.35, 0.35)
        h, w = rng.uniform(0.03, 0.08), rng.uniform(0.04, 0.1)
        mask |= (np.abs(down - y) < h) & (np.abs(around - x) < w)
    return mask


def _mix(mask: np.ndarray, first: tuple, second: tuple) -> np.ndarray:
    """Colours (h, w, 3) float32 from 0..255."""
    first, second = np.array(first, np.float32), np.array(second, np.float32)
    image = mask.astype(np.float32)[..., None] * (second - first)
    image += first
    return image


def garment_atlas(cloth: Cloth, seed: int, person: Person | None = None) -> np.ndarray:
    """A fabric wrapped once around the body, (72, 144, 3) uint8.

    The first row is the top, 200 rows are one body height; the middle column is the
    front. A ``person`` adds logo, print, open front and scarf of an upper garment.
    """
    rows, columns = ATLAS
    down = (np.arange(rows)[:, None] + 0.5) / ROWS_PER_HEIGHT
    turn = (np.arange(columns)[None] + 0.5) / columns * 2 - 1  # back, front, back
    image = _mix(
        pattern_mask(cloth, down, turn * 0.4, seed), cloth.colour, cloth.second
    )
    if person is not None:
        aside = np.abs(turn)
        bars = (np.abs(down - 0.14) < 0.06) & (aside < 0.2) & (down * 30 % 1 < 0.5)
        logos = {
            'none': np.zeros_like(bars),
            'disc': ((down - 0.13) / 0.05) ** 2 + (turn / 0.17) ** 2 < 1,
            'square': (np.abs(down - 0.13) < 0.04) & (aside < 0.15),
            'bars': bars,
        }
        image[logos[person.logo]] = person.print_colour
        if person.back_print:
            image[(np.abs(down - 0.15) < 0.06) & (aside > 0.8)] = person.print_colour
        if person.open_front is not None:
            image[:, aside[0] < 0.16] = person.open_front
        if person.scarf is not None:
            where = (down < 0.045) | ((np.abs(turn - 0.1) < 0.07) & (down < 0.2))
            image[where] = person.scarf
    return image.astype(np.uint8)


def limb_tile(cloth: Cloth, unit: float, seed: int) -> np.ndarray | None:
    """A fabric laid flat, (0.6 unit, 0.6 unit, 3) uint8; ``unit`` is a body height.

    None for a plain one, which needs no image.
    """
    if cloth.pattern in ('plain', 'yoke', 'halves', 'band'):
        return None
    side = np.arange(int(0.6 * unit) + 1) / unit
    mask = pattern_mask(cloth, side[:, None], side[None] - 0.1, seed)
    image = _mix(mask, cloth.colour, cloth.second)
    return image.astype(np.uint8)
