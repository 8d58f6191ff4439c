# SPDX-License-Identifier: Apache-2.0
"""A person drawn on a canvas."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

from . import body
from .appearance import Cloth, Colour, Person
from .shapes import capsules, fill, fill_textured, fill_tube
from .textures import ROWS_PER_HEIGHT, garment_atlas, limb_tile

#: Boxes fit the person and are brought to one shape, which widens people.
STRETCH = 1.45
_TURN = np.linspace(0, 2 * math.pi, 14, endpoint=False)
_RING = np.stack([np.cos(_TURN), np.sin(_TURN)], -1)


@lru_cache(maxsize=64)
def _fabrics(person: Person, unit: float) -> tuple:
    """Atlas of top and bottom, tiles of sleeves and legs."""
    seed = person.key
    return (
        garment_atlas(person.top, seed, person),
        garment_atlas(person.bottom_cloth, seed + 1),
        limb_tile(person.sleeve_cloth, unit, seed),
        limb_tile(person.bottom_cloth, unit, seed + 1),
    )


def draw_person(
    canvas: np.ndarray,
    person: Person,
    unit: float,
    foot: tuple[float, float],
    phase: float,
    yaw: float,
    pitch: float,
    light: float = 0.5,
) -> None:
    """Draw a walking person on a canvas (h, w, 3), ``unit`` pixels tall.

    ``foot`` is the column of the body's axis and the row of the ground, ``phase`` the
    position in the walking cycle, ``yaw`` the heading (see :func:`~.body.project`),
    ``pitch`` how far the camera looks down and ``light`` where the light comes from,
    all in radians.
    """
    _Drawing(canvas, person, unit, foot, phase, yaw, pitch, light).draw()


class _Drawing:
    """One person in one pose; parts are collected, sorted by depth, painted."""

    def __init__(self, canvas, person, unit, foot, phase, yaw, pitch, light) -> None:
        self.canvas, self.person, self.unit = canvas, person, unit
        self.foot = np.array(foot, float)
        self.yaw, self.pitch, self.light = yaw, pitch, light
        self.cos, self.sin = math.cos(yaw), math.sin(yaw)
        self.body = body.walking_joints(person, phase)
        self.seen = body.project(self.body, yaw, pitch)
        self.pixels = self._pixels(self.seen)
        # Tiles do not depend on small changes of the scale: fewer to make.
        self.fabrics = _fabrics(person, float(round(unit / 8) * 8))
        self.parts: list[tuple] = []
        self.limbs: list[tuple] = []

    def _pixels(self, seen: np.ndarray) -> np.ndarray:
        return self.foot + seen[:, :2] * (STRETCH * self.unit, -self.unit)

    def _place(self, *points: tuple) -> tuple[np.ndarray, np.ndarray]:
        """Pixels (n, 2) and depths (n,) of points in body coordinates."""
        array = np.array(points, float)
        # Given for a body whose hip is at its usual height.
        array[:, 1] += self.body[body.PELVIS, 1] - 0.5
        seen = body.project(array, self.yaw, self.pitch)
        return self._pixels(seen), seen[:, 2]

    def draw(self) -> None:
        self._legs()
        self._trunk()
        self._arms()
        self._head()
        self._bag()
        starts, ends, r0, r1, *looks = (list(column) for column in zip(*self.limbs))
        radii = (1.15 * np.array(r) * self.unit for r in (r0, r1))
        outlines = capsules(np.array(starts), np.array(ends), *radii)
        for outline, start, key, paint, shade in zip(outlines, starts, *looks):
            self.parts.append((key, self._paint, (outline, start, paint, shade)))
        for _, paint, arguments in sorted(self.parts, key=lambda part: part[0]):
            paint(*arguments)

    def _paint(self, outline, start, paint, shade) -> None:
        if isinstance(paint, np.ndarray):
            origin = start - np.array([0.3, 0.2]) * self.unit
            fill_textured(self.canvas, outline, paint, origin)
        else:
            colour = tuple(min(255.0, shade * c) for c in paint)
            fill(self.canvas, outline, colour)

    def _limb(self, start, end, r0, r1, key, paint, shade=1.0) -> None:
        self.limbs.append((start, end, r0, r1, key, paint, shade))

    def _shade(self, depth: float) -> float:
        return min(1.08, max(0.62, 0.9 + 1.6 * depth))

    def _ellipse(self, key, centre, radii, colour) -> None:
        outline = centre + _RING * (np.array(radii) * (STRETCH * self.unit, self.unit))
        self.parts.append((key, fill, (self.canvas, outline, colour)))

    def _legs(self) -> None:
        person, girth = self.person, self.person.girth
        cloth: Cloth = person.bottom_cloth
        tile = self.fabrics[3] if self.fabrics[3] is not None else cloth.colour
        for i in range(2):
            hip, knee, ankle, toe = (
                self.pixels[j + i] for j in (body.HIP, body.KNEE, body.ANKLE, body.TOE)
            )
            depth = self.seen[body.HIP + i, 2] + 0.5 * self.seen[body.KNEE + i, 2]
            key = -0.03 + 0.005 * depth
            shade = self._shade(depth)
            upper = tile if person.bottom != 'skirt' else person.skin
            lower = tile if person.bottom == 'trousers' else person.skin
            wide = 1.0 if person.bottom == 'trousers' else 0.8
            self._limb(ankle, toe, 0.026, 0.018, key, person.shoes, shade)
            radii = (0.04 * girth * wide, 0.029 * girth * wide)
            self._limb(knee, ankle, *radii, key + 1e-5, lower, shade)
            radii = (0.056 * girth, 0.043 * girth)
            self._limb(hip, knee, *radii, key + 2e-5, upper, shade)
            if person.side_stripe and person.bottom == 'trousers':
                stripe = person.side_stripe
                self._limb(hip, knee, 0.015, 0.015, key + 3e-5, stripe, shade)
                self._limb(knee, ankle, 0.015, 0.012, key + 4e-5, stripe, shade)

    def _tube(self, key: float, levels: tuple, atlas: np.ndarray) -> None:
        """Levels: height, half width to the side, half width to the front."""
        array = np.array(levels)
        height = array[:, 0] + self.body[body.PELVIS, 1] - 0.5
        widths = np.hypot(array[:, 1] * self.cos, array[:, 2] * self.sin)
        rows = self.foot[1] - height * self.unit
        widths = STRETCH * widths * self.unit
        fabric = (atlas, self.yaw, ROWS_PER_HEIGHT / self.unit, self.light)
        arguments = (self.canvas, self.foot[0], rows, widths, *fabric)
        self.parts.append((key, fill_tube, arguments))

    def _trunk(self) -> None:
        person = self.person
        g, s = person.girth, person.shoulders
        top, bottom = self.fabrics[:2]
        waist = (0.6, 0.088 * g, 0.066 * g)
        hips = (0.5, 0.1 * g, 0.074 * g)
        end = (0.455, 0.095 * g, 0.066 * g)
        if person.bottom == 'skirt':
            end = (person.skirt_hem, 0.135 * g, 0.115 * g)
        self._tube(0.0, (waist, hips, end), bottom)
        if person.hem < 0.45:
            hem = (person.hem, 0.12 * g, 0.095 * g)
        else:
            hem = (person.hem - 0.005, 0.104 * g, 0.078 * g)
        levels = (
            (0.845, 0.035 * s, 0.035),
            (0.82, 0.098 * s, 0.055),
            (0.76, 0.116 * s, 0.066 * g),
            (0.68, 0.102 * g, 0.072 * g),
            (0.6, 0.093 * g, 0.07 * g),
            hem,
        )
        self._tube(0.01, levels, top)

    def _arms(self) -> None:
        person = self.person
        girth = 0.5 + 0.5 * person.girth
        cloth = person.sleeve_cloth
        paint = self.fabrics[2] if self.fabrics[2] is not None else cloth.colour
        for i in range(2):
            shoulder, elbow, wrist = (
                self.pixels[j + i] for j in (body.SHOULDER, body.ELBOW, body.WRIST)
            )
            depth = self.seen[body.SHOULDER + i, 2]
            key = depth + 0.3 * self.seen[body.WRIST + i, 2] + 0.03
            shade = self._shade(depth)
            skin = person.skin
            full = person.sleeve >= 1
            upper = paint if person.sleeve > 0 else skin
            self._limb(elbow, wrist, 0.028 * girth, 0.021, key, paint if full else skin,
                       shade)  # fmt: skip
            self._limb(shoulder, elbow, 0.036 * girth, 0.029 * girth, key + 1e-5, upper,
                       shade)  # fmt: skip
            hand = wrist + 0.12 * (wrist - elbow)
            self._limb(wrist, hand, 0.019, 0.017, key - 1e-5, skin, shade)

    def _head(self) -> None:
        person, cos, sin = self.person, self.cos, self.sin
        unit = self.unit
        neck, head = self.pixels[body.NECK], self.pixels[body.HEAD]
        self._limb(neck, head, 0.031, 0.031, 0.005, person.skin, 0.9)
        bald = person.hair_style == 'bald'
        hair: Colour = person.skin if bald else person.hair
        # The hair is a ball, the face a disc on it which turns with the body.
        self._ellipse(0.04, head + (0, -0.008 * unit), (0.052, 0.068), hair)
        if cos > -0.55:
            wide = 0.045 * min(1.0, 0.62 + 0.5 * max(cos, 0.0))
            face = head + np.array([0.022 * sin, 0.012]) * unit
            self._ellipse(0.041, face, (wide, 0.054), person.skin)
        if not bald and person.hair_style in ('bob', 'long', 'tail'):
            length = {'bob': 0.86, 'long': 0.74, 'tail': 0.78}[person.hair_style]
            width = {'bob': 0.05, 'long': 0.05, 'tail': 0.022}[person.hair_style]
            points, _ = self._place((0, 0.925, -0.035), (0, length, -0.07))
            behind = 0.045 if cos < 0.2 else 0.003
            self._limb(points[0], points[1], width, 0.8 * width, behind, hair)
            if person.hair_style == 'bob' and cos >= 0.2:
                for i in (-1, 1):
                    points, _ = self._place((i * 0.047, 0.94, 0), (i * 0.05, 0.87, 0))
                    self._limb(points[0], points[1], 0.014, 0.016, 0.042, hair)
        if person.hat != 'none':
            lift = np.array([-0.006 * sin, -0.036]) * unit
            size = (0.056, 0.045) if person.hat != 'hood' else (0.064, 0.06)
            self._ellipse(0.043 if person.hat != 'hood' else 0.0395,
                          head + lift, size, person.hat_colour)  # fmt: skip
            if person.hat == 'cap' and cos > -0.5:
                peak = head + np.array([0.06 * sin, -0.012 + 0.012 * cos]) * unit
                self._ellipse(0.044, peak, (0.03 + 0.015 * abs(cos), 0.011),
                              tuple(0.75 * c for c in person.hat_colour))  # fmt: skip
            if person.hat == 'hood':
                points, _ = self._place((0, 0.87, -0.05))
                self._ellipse(0.046 if cos < -0.3 else 0.004, points[0],
                              (0.07, 0.05), person.hat_colour)  # fmt: skip

    def _bag(self) -> None:
        person, side = self.person, self.person.bag_side
        colour = person.bag_colour
        dark = tuple(0.7 * c for c in colour)
        if person.bag == 'backpack':
            points, depth = self._place((0, 0.75, -0.115), (0, 0.62, -0.12))
            width = math.hypot(0.092 * self.cos, 0.055 * self.sin)
            key = depth[0] + 0.012
            self._limb(points[0], points[1], width, 1.08 * width, key, colour, 0.95)
            points, depth = self._place((0, 0.62, -0.15), (0, 0.6, -0.15))
            self._limb(points[0], points[1], 0.6 * width, 0.6 * width, key + 1e-3, dark)
            if self.cos > -0.3:
                for i in (-1, 1):
                    ends = ((i * 0.072, 0.83, 0.03), (i * 0.078, 0.65, 0.06))
                    points, _ = self._place(*ends)
                    self._limb(points[0], points[1], 0.012, 0.012, 0.02, colour)
        elif person.bag == 'shoulder':
            front = 0.065 if self.cos > 0 else -0.065
            points, _ = self._place((-side * 0.065, 0.83, front / 2),
                                    (side * 0.125, 0.56, front))  # fmt: skip
            self._limb(points[0], points[1], 0.012, 0.012, 0.02, colour)
            points, depth = self._place((side * 0.145, 0.53, -0.03),
                                        (side * 0.145, 0.46, -0.03))  # fmt: skip
            width = math.hypot(0.042 * self.cos, 0.075 * self.sin)
            self._limb(points[0], points[1], width, width, depth[0] + 0.045, colour)
            self._limb(points[0], points[0], 0.9 * width, 0.9 * width,
                       depth[0] + 0.046, dark)  # fmt: skip
        elif person.bag in ('hand', 'trolley'):
            i = 0 if side > 0 else 1
            wrist, depth = self.pixels[body.WRIST + i], self.seen[body.WRIST + i, 2]
            key = self.seen[body.SHOULDER + i, 2] + 0.028 + 0.3 * depth
            if person.bag == 'hand':
                width = math.hypot(0.04 * self.cos, 0.075 * self.sin)
                low = wrist + (0, 0.085 * self.unit)
                high = wrist + (0, 0.055 * self.unit)
                self._limb(wrist, high, 0.007, 0.007, key, dark)
                self._limb(high, low, width, 1.1 * width, key, colour)
            else:
                points, depths = self._place((side * 0.16, 0.24, -0.2),
                                             (side * 0.16, 0.08, -0.2))  # fmt: skip
                width = math.hypot(0.07 * self.cos, 0.045 * self.sin)
                self._limb(wrist, points[0], 0.007, 0.007, depths[0], dark)
                self._limb(points[0], points[1], width, width, depths[0] + 1e-3, colour)
