# SPDX-License-Identifier: Apache-2.0
"""Drawing primitives on a canvas (height, width, 3), uint8, blue green red."""

from __future__ import annotations

import math

import cv2
import numpy as np

_SHIFT = 4  # fractional bits of OpenCV's polygon corners
_CAP = np.linspace(math.pi / 2, 3 * math.pi / 2, 6)


def fixed(points: np.ndarray) -> np.ndarray:
    """Corners in OpenCV's fixed-point form (n, 2) int32, see ``fill``."""
    return np.rint(np.asarray(points) * (1 << _SHIFT)).astype(np.int32)


def fill(canvas: np.ndarray, points: np.ndarray, colour: tuple | int) -> None:
    """Fill a convex polygon (n, 2), in pixels with fractions."""
    cv2.fillConvexPoly(canvas, fixed(points), colour, cv2.LINE_8, _SHIFT)


def capsules(
    start: np.ndarray, end: np.ndarray, r0: np.ndarray, r1: np.ndarray
) -> np.ndarray:
    """Outlines (n, 12, 2) of limbs: two half circles and what is between them.

    Of centres (n, 2) ``start`` and ``end`` with radii (n,) ``r0`` and ``r1``.
    """
    along = end - start
    angle = np.arctan2(along[:, 1], along[:, 0])[:, None] + _CAP
    ring = np.stack([np.cos(angle), np.sin(angle)], -1)
    first = start[:, None] + r0[:, None, None] * ring
    second = end[:, None] - r1[:, None, None] * ring
    return np.concatenate([first, second], 1)


def fill_textured(
    canvas: np.ndarray, points: np.ndarray, tile: np.ndarray, origin: np.ndarray
) -> None:
    """Fill a convex polygon (n, 2) with a flat image whose corner is at ``origin``.

    What lies outside the image is not drawn.
    """
    ox, oy = int(origin[0]), int(origin[1])
    low = points.min(0).astype(int)
    high = points.max(0).astype(int) + 2
    x0, y0 = max(low[0], ox, 0), max(low[1], oy, 0)
    x1 = min(high[0], ox + tile.shape[1], canvas.shape[1])
    y1 = min(high[1], oy + tile.shape[0], canvas.shape[0])
    if x1 <= x0 or y1 <= y0:
        return
    mask = np.zeros((y1 - y0, x1 - x0), np.uint8)
    fill(mask, points - (x0, y0), 255)
    cv2.copyTo(tile[y0 - oy : y1 - oy, x0 - ox : x1 - ox], mask, canvas[y0:y1, x0:x1])


def fill_tube(
    canvas: np.ndarray,
    centre: float,
    rows: np.ndarray,
    widths: np.ndarray,
    atlas: np.ndarray,
    yaw: float,
    texel: float,
    light: float,
) -> None:
    """Draw a standing tube of varying width, wrapped in a fabric.

    Its axis is at column ``centre``; ``rows`` (k,) are levels from the top down and
    ``widths`` (k,) half widths there, in pixels; a pixel has ``texel`` rows of the
    ``atlas``. ``yaw`` is the body's heading, ``light`` comes from so many radians to
    the right of the camera.
    """
    height, width = canvas.shape[:2]
    widest = float(widths.max())
    x0, x1 = max(int(centre - widest) - 1, 0), min(int(centre + widest) + 2, width)
    y0, y1 = max(int(rows[0]) - 1, 0), min(int(rows[-1]) + 2, height)
    if x1 <= x0 or y1 <= y0:
        return
    points = np.empty((2 * len(rows), 2))
    points[:, 1] = np.concatenate([rows, rows[::-1]]) - y0
    points[:, 0] = np.concatenate([centre - widths, (centre + widths)[::-1]]) - x0
    mask = np.zeros((y1 - y0, x1 - x0), np.uint8)
    cv2.fillPoly(mask, [fixed(points)], 255, cv2.LINE_8, _SHIFT)

    side = np.arcsin(np.clip((np.arange(x0, x1) + 0.5 - centre) / widest, -0.98, 0.98))
    turn = ((side - yaw) / (2 * math.pi) + 0.5) % 1.0
    columns = (turn * atlas.shape[1]).astype(np.int64)
    lines = ((np.arange(y0, y1) + 0.5 - rows[0]) * texel).astype(np.int64)
    lines = np.clip(lines, 0, atlas.shape[0] - 1)
    shade = (195 + 61 * np.cos(side - light)).astype(np.uint16)
    region = atlas.take(columns, axis=1) * shade[:, None]  # 256 is full light
    region >>= 8
    cv2.copyTo(region.astype(np.uint8).take(lines, axis=0), mask, canvas[y0:y1, x0:x1])
