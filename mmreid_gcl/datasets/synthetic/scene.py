# SPDX-License-Identifier: Apache-2.0
"""Scenery: the background of each camera, and occluders."""

from __future__ import annotations

import math

import cv2
import numpy as np

from .seeds import SCENE, generator

#: Height and width of a scene, in heights of a person's box.
SCENE_SIZE = (1.7, 24.0)
KINDS = ('street', 'park', 'mall', 'station', 'campus')
OCCLUDERS = ('pole', 'bush', 'barrier', 'crate', 'rail')


def _rough(rng: np.random.Generator, height: int, width: int, cell: int) -> np.ndarray:
    """Smooth noise (height, width), about -1..1."""
    small = rng.normal(0, 0.5, (height // cell + 2, width // cell + 2))
    return cv2.resize(
        small.astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC
    )


def _colour(rng: np.random.Generator, vivid: float) -> tuple:
    """Any colour; ``vivid`` 0 is grey, 1 is anything."""
    grey = rng.uniform(40, 225)
    return tuple(float(c) for c in (1 - vivid) * grey + vivid * rng.uniform(10, 245, 3))


# Materials (blue, green, red) that every camera has some of: a background says
# little about the camera, as in a district built of the same things.
MATERIALS = (
    (128, 130, 132), (98, 102, 106), (164, 168, 170), (70, 74, 80), (120, 142, 160),
    (84, 104, 132), (150, 172, 186), (92, 118, 98), (136, 124, 112), (198, 202, 204),
)  # fmt: skip


def _material(rng: np.random.Generator) -> tuple:
    """A wall or floor: mostly dull, and the same ones in all cameras."""
    colour = np.array(MATERIALS[rng.integers(len(MATERIALS))], float)
    return tuple(float(c) for c in colour + rng.normal(0, 7) + rng.normal(0, 3, 3))


def _box(image, x, y, w, h, colour) -> None:
    cv2.rectangle(image, (int(x), int(y)), (int(x + w), int(y + h)), colour, -1)


def _tree(image, rng, x, ground, unit) -> None:
    _box(image, x, ground - 0.8 * unit, 0.07 * unit, 0.85 * unit, (40, 62, 84))
    base = np.array([30, 90, 50]) + rng.uniform(-25, 45, 3)
    for _ in range(22):
        centre = (
            int(x + rng.normal(0, 0.17) * unit),
            int(ground - (0.95 + rng.normal(0, 0.16)) * unit),
        )
        colour = tuple(float(c) for c in base * rng.uniform(0.6, 1.3))
        cv2.circle(image, centre, int(rng.uniform(0.05, 0.13) * unit), colour, -1)


def _car(image, rng, x, ground, unit) -> None:
    body = _colour(rng, 0.8)
    _box(image, x, ground - 0.3 * unit, 1.1 * unit, 0.22 * unit, body)
    corners = np.array([[0.18, -0.3], [0.32, -0.48], [0.75, -0.48], [0.92, -0.3]])
    points = np.rint(corners * unit + (x, ground)).astype(np.int32)
    cv2.fillPoly(image, [points], (92, 84, 70))
    for wheel in (0.22, 0.88):
        centre = int(x + wheel * unit), int(ground - 0.08 * unit)
        cv2.circle(image, centre, int(0.09 * unit), (28, 28, 28), -1)


def _sign(image, rng, x, ground, unit) -> None:
    post = 0.03 * unit
    _box(image, x, ground - 0.95 * unit, post, 0.95 * unit, _colour(rng, 0.1))
    width, height = rng.uniform(0.15, 0.4) * unit, rng.uniform(0.15, 0.35) * unit
    top = ground - 0.95 * unit
    _box(image, x - width / 2, top, width, height, _colour(rng, 1))
    stripe = (x - width / 3, top + height / 3, width / 1.5, height / 6)
    _box(image, *stripe, _colour(rng, 1))


def _poster(image, rng, x, ground, unit) -> None:
    width, height = rng.uniform(0.2, 0.6) * unit, rng.uniform(0.3, 0.7) * unit
    top = ground - rng.uniform(0.75, 1.1) * unit
    _box(image, x, top, width, height, _colour(rng, 1))
    for _ in range(4):
        left = x + rng.uniform(0, 0.7) * width
        upper = top + rng.uniform(0, 0.8) * height
        wide, high = rng.uniform(0.1, 0.3) * width, rng.uniform(0.05, 0.2) * height
        _box(image, left, upper, wide, high, _colour(rng, 1))


def _bench(image, rng, x, ground, unit) -> None:
    colour = _colour(rng, 0.6)
    for row in (0.2, 0.27, 0.38, 0.45):
        _box(image, x, ground - row * unit, 0.6 * unit, 0.035 * unit, colour)
    for leg in (0.05, 0.5):
        _box(image, x + leg * unit, ground - 0.2 * unit, 0.04 * unit, 0.2 * unit,
             (50, 50, 50))  # fmt: skip


def _door(image, rng, x, ground, unit) -> None:
    frame, inside = _colour(rng, 0.5), _colour(rng, 0.6)
    _box(image, x, ground - 0.95 * unit, 0.5 * unit, 0.95 * unit, frame)
    _box(image, x + 0.05 * unit, ground - 0.9 * unit, 0.4 * unit, 0.86 * unit, inside)


OBJECTS = {
    'street': (_car, _sign, _door, _poster, _tree),
    'park': (_tree, _tree, _bench, _sign),
    'mall': (_poster, _poster, _door, _sign, _bench),
    'station': (_poster, _sign, _bench, _door),
    'campus': (_tree, _door, _bench, _car, _sign),
}


def _wall(image, rng, kind, horizon, unit) -> None:
    """What stands at the back."""
    width = image.shape[1]
    x = 0.0
    while x < width:
        wide = rng.uniform(0.4, 1.3) * unit
        _box(image, x, 0, wide, horizon, _material(rng))
        if kind in ('street', 'campus'):
            pane = _material(rng)
            step = rng.uniform(0.22, 0.4) * unit
            for row in np.arange(-0.1 * unit, horizon - 0.35 * unit, 1.2 * step):
                for column in np.arange(x + 0.1 * unit, x + wide - 0.8 * step, step):
                    _box(image, column, row, 0.6 * step, 0.75 * step, pane)
        if kind in ('mall', 'station'):
            band = rng.uniform(0.1, 0.3) * unit
            _box(image, x, rng.uniform(0, 0.5) * horizon, wide, band, _colour(rng, 0.7))
            _box(image, x, 0, 0.06 * unit, horizon, _material(rng))
        x += wide


def _ground(image, rng, horizon, unit) -> None:
    """Stretches of floor with slabs that run into the distance."""
    height, width = image.shape[:2]
    vanish = rng.uniform(0.2, 0.8) * width
    x = 0.0
    while x < width:
        wide = rng.uniform(0.5, 1.6) * unit
        _box(image, x, horizon, wide, height - horizon, _material(rng))
        x += wide
    line = _material(rng)
    for i in range(1, 9):  # rows of slabs, closer together in the distance
        row = int(horizon + (height - horizon) * (i / 9) ** 1.7)
        cv2.line(image, (0, row), (width, row), line, 1 + i // 5)
    for column in np.arange(-width, 2 * width, 0.45 * unit):
        start = int(vanish + 0.35 * (column - vanish)), int(horizon)
        cv2.line(image, start, (int(column), height), line, 1)
    for _ in range(14):  # rugs, lanes, covers
        top = horizon + rng.uniform(0.1, 0.8) * (height - horizon)
        wide, deep = rng.uniform(0.3, 1.5) * unit, rng.uniform(0.04, 0.15) * unit
        _box(image, rng.uniform(0, width), top, wide, deep, _colour(rng, 0.5))


def paint_scene(seed: int, camera: int, unit: int, clutter: float) -> np.ndarray:
    """Scenery of a camera, (1.7 unit, 24 unit, 3) uint8, blue green red.

    ``unit`` is a box height in pixels; ``clutter`` the objects relative to the
    usual number, 0 for none.
    """
    rng = generator(seed, SCENE, camera)
    height, width = (int(side * unit) for side in SCENE_SIZE)
    kind = KINDS[(camera + int(generator(seed, SCENE).integers(5))) % len(KINDS)]
    image = np.zeros((height, width, 3), np.uint8)
    horizon = rng.uniform(0.42, 0.6) * height
    _wall(image, rng, kind, horizon, unit)
    _ground(image, rng, horizon, unit)
    objects = OBJECTS[kind]
    count = round(70 * clutter)
    depths = np.sort(rng.uniform(0, 0.45, count))
    for depth in depths:  # far ones first
        thing = objects[rng.integers(len(objects))]
        ground = horizon + depth * (height - horizon)
        thing(image, rng, rng.uniform(0, width), ground, unit * (0.75 + 0.5 * depth))
    rough = 14 * _rough(rng, height, width, unit // 4)
    rough += 8 * _rough(rng, height, width, max(2, unit // 40))
    # Long shadows and patches of light.
    rough += 30 * _rough(rng, height, width, unit)
    return np.clip(image + rough[..., None], 0, 255).astype(np.uint8)


def draw_occluder(
    canvas: np.ndarray, kind: str, x: float, size: float, colour: tuple, seed: int
) -> None:
    """Draw something between the camera and the person, one of :data:`OCCLUDERS`.

    Its middle is at column ``x``; ``size`` is 0.7 to 1.3, 1 is usual; ``seed``
    places what is irregular, the same in all frames.
    """
    height, width = canvas.shape[:2]
    dark = tuple(0.7 * c for c in colour)
    if kind == 'pole':
        half = 0.045 * size * height
        _box(canvas, x - half, 0, 2 * half, height, colour)
        _box(canvas, x - half, 0, 0.5 * half, height, dark)
    elif kind == 'bush':
        rng = np.random.default_rng(seed)
        tone = np.array([40, 105, 55])
        for _ in range(26):
            centre = (
                int(x + rng.normal(0, 0.13) * size * height),
                int(height * (1.0 - abs(rng.normal(0, 0.14)) * size)),
            )
            leaf = tuple(float(c) for c in tone * rng.uniform(0.6, 1.3))
            cv2.circle(canvas, centre, int(rng.uniform(0.03, 0.07) * height), leaf, -1)
    elif kind == 'barrier':
        top = height * (1 - 0.32 * size)
        _box(canvas, x - 0.3 * height, top, 0.6 * height, 0.1 * height, colour)
        for i in range(-3, 3):
            _box(canvas, x + i * 0.1 * height, top, 0.05 * height, 0.1 * height,
                 (235, 235, 235))  # fmt: skip
        for leg in (-0.26, 0.22):
            _box(canvas, x + leg * height, top, 0.03 * height, height, dark)
    elif kind == 'crate':
        top = height * (1 - 0.34 * size)
        _box(canvas, x - 0.16 * height, top, 0.32 * height, height, colour)
        _box(canvas, x - 0.12 * height, top + 0.06 * height, 0.24 * height,
             0.06 * height, dark)  # fmt: skip
    elif kind == 'rail':
        for row in (0.52, 0.66, 0.8):
            _box(canvas, 0, row * height, width, 0.022 * size * height, colour)
        step = 0.28 * height
        offset = math.fmod(x, step)
        for i in range(-1, int(width / step) + 2):
            _box(canvas, offset + i * step, 0.52 * height, 0.025 * height, height, dark)
    else:
        raise ValueError(f'There is no occluder {kind!r}; choose from {OCCLUDERS}.')
