# SPDX-License-Identifier: Apache-2.0
"""Fabrics as images: wrapped around the body, or flat along a limb."""

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
    """Where the second colour is.

    Args:
        cloth (Cloth): Fabric.
        down (np.ndarray): (h, 1), distance from the top in body heights.
        around (np.ndarray): (1, w), distance from the front's middle in body
            heights, to the person's left.
        seed (int): Places the patches.

    Returns:
        np.ndarray: (h, w) float, 0 for the main colour to 1 for the second.
    """
    period = 0.085 * cloth.scale
    rows, columns = down / period, around / period
    flat = np.zeros(np.broadcast_shapes(down.shape, around.shape), np.float32)
    name = cloth.pattern
    if name == 'plain':
        return flat
    if name == 'stripes':
        return flat + (rows % 1 < 0.5)
    if name == 'pinstripes':
        return flat + ((columns * 1.3 + 0.25) % 1 < 0.42)
    if name == 'checks':
        return flat + ((rows % 1 < 0.5) ^ (columns % 1 < 0.5))
    if name == 'plaid':
        return 0.5 * (rows % 1 < 0.4) + 0.5 * (columns % 1 < 0.4)
    if name == 'dots':
        shifted = columns + 0.5 * (np.floor(rows) % 2)
        return flat + ((rows % 1 - 0.5) ** 2 + (shifted % 1 - 0.5) ** 2 < 0.11)
    if name == 'gradient':
        return np.clip(flat + down / 0.36, 0, 1)
    if name == 'yoke':
        return flat + (down < 0.11 * cloth.scale)
    if name == 'halves':
        return flat + (around > 0)
    if name == 'band':
        return flat + (np.abs(down - 0.16) < 0.045 * cloth.scale)
    if name == 'diagonal':
        return flat + ((rows + columns) * 0.7 % 1 < 0.5)
    if name == 'patches':
        rng = generator(seed, PERSON, 1)
        for _ in range(9):
            y, x = rng.uniform(0, 0.36), rng.uniform(-0.35, 0.35)
            h, w = rng.uniform(0.03, 0.08), rng.uniform(0.04, 0.1)
            flat = np.maximum(flat, (np.abs(down - y) < h) & (np.abs(around - x) < w))
        return flat
    raise ValueError(f'There is no pattern {name!r}.')


def _mix(mask: np.ndarray, first: tuple, second: tuple) -> np.ndarray:
    """Colours (h, w, 3) float32 from 0..255."""
    first, second = np.array(first, np.float32), np.array(second, np.float32)
    image = mask.astype(np.float32)[..., None] * (second - first)
    image += first
    return image


def garment_atlas(cloth: Cloth, seed: int, person: Person | None = None) -> np.ndarray:
    """A fabric wrapped once around the body.

    Args:
        cloth (Cloth): Fabric.
        seed (int): Places what is irregular.
        person (Person | None): Whose logo, print, open front and scarf to
            add; None for a lower garment. Defaults to None.

    Returns:
        np.ndarray: (72, 144, 3) uint8. The first row is the top, 200 rows are
        one body height; the middle column is the front.
    """
    rows, columns = ATLAS
    down = (np.arange(rows)[:, None] + 0.5) / ROWS_PER_HEIGHT
    turn = (np.arange(columns)[None] + 0.5) / columns * 2 - 1  # back, front, back
    image = _mix(
        pattern_mask(cloth, down, turn * 0.4, seed), cloth.colour, cloth.second
    )
    if person is not None:
        if person.logo == 'disc':
            where = ((down - 0.13) / 0.05) ** 2 + (turn / 0.17) ** 2 < 1
        elif person.logo == 'square':
            where = (np.abs(down - 0.13) < 0.04) & (np.abs(turn) < 0.15)
        elif person.logo == 'bars':
            where = (np.abs(down - 0.14) < 0.06) & (np.abs(turn) < 0.2)
            where = where & (down * 30 % 1 < 0.5)
        else:
            where = np.zeros((rows, columns), bool)
        image[where] = person.print_colour
        if person.back_print:
            where = (np.abs(down - 0.15) < 0.06) & (np.abs(turn) > 0.8)
            image[where] = person.print_colour
        if person.open_front is not None:
            where = np.broadcast_to(np.abs(turn) < 0.16, (rows, columns))
            image[where] = person.open_front
        if person.scarf is not None:
            where = (down < 0.045) | ((np.abs(turn - 0.1) < 0.07) & (down < 0.2))
            image[where] = person.scarf
    return image.astype(np.uint8)


def limb_tile(cloth: Cloth, unit: float, seed: int) -> np.ndarray | None:
    """A fabric laid flat, in pixels of the canvas.

    Args:
        cloth (Cloth): Fabric.
        unit (float): Pixels of one body height.
        seed (int): Places what is irregular.

    Returns:
        np.ndarray | None: (0.6 unit, 0.6 unit, 3) uint8; None for a plain one,
        which needs no image.
    """
    if cloth.pattern in ('plain', 'yoke', 'halves', 'band'):
        return None
    side = np.arange(int(0.6 * unit) + 1) / unit
    mask = pattern_mask(cloth, side[:, None], side[None] - 0.1, seed)
    image = _mix(mask, cloth.colour, cloth.second)
    return image.astype(np.uint8)
