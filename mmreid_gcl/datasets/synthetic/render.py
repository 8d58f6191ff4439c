# SPDX-License-Identifier: Apache-2.0
"""Rendering of tracklets as images."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from .appearance import sample_person
from .camera import Camera, Difficulty, expose, sample_camera
from .figure import draw_person
from .plan import FRAME_STEP, Tracklet
from .scene import OCCLUDERS, SCENE_SIZE, draw_occluder, paint_scene
from .seeds import CAMERA, TRACKLET, generator

#: People who only pass by in the back or the front have keys from here on.
_PASSERS_BY = 1 << 32
#: Seconds between two frames; metres a second; metres of a body height.
_STEP = FRAME_STEP * 0.04 * 1.3 / 1.75
_CYCLE = FRAME_STEP * 0.04 / 1.1 * 2 * math.pi
_NOISE_MARGIN = 64
_person = lru_cache(256)(sample_person)


class World:
    """All cameras of a data set, ready to take pictures (height, width, 3)."""

    def __init__(
        self,
        seed: int,
        num_cameras: int,
        difficulty: Difficulty,
        height: int = 128,
        width: int = 64,
        world: str = 'first',
    ) -> None:
        self.seed, self.difficulty, self.world = seed, difficulty, world
        self.height, self.width = height, width
        # Drawn larger than wanted: this is what smooths the edges.
        self.factor = max(2, math.ceil(192 / height))
        unit = self.factor * height
        numbers = range(1, num_cameras + 1)
        self.cameras = [sample_camera(seed, i, difficulty) for i in numbers]
        self.scenes = [paint_scene(seed, i, unit, difficulty.clutter) for i in numbers]
        self.noise = [self._noise(camera) for camera in self.cameras]

    def _noise(self, camera: Camera) -> np.ndarray:
        rng = generator(self.seed, CAMERA, camera.number, 1)
        shape = self.height + _NOISE_MARGIN, self.width + _NOISE_MARGIN, 3
        return np.rint(rng.normal(0, camera.noise, shape)).astype(np.int16)

    def render(self, tracklet: Tracklet) -> list[np.ndarray]:
        """All images of a tracklet: (height, width, 3) uint8, blue green red."""
        walk = _Walk(self, tracklet)
        return [self._image(tracklet, walk, i) for i in range(len(tracklet.frames))]

    def _image(self, tracklet: Tracklet, walk: _Walk, i: int) -> np.ndarray:
        camera = self.cameras[tracklet.camera - 1]
        rows, columns = self.factor * self.height, self.factor * self.width
        canvas = self._background(tracklet.camera, walk, i, rows, columns)
        right, down = walk.offset[i]
        foot = columns / 2 + right * rows, rows * (0.97 + down)
        unit = 0.92 * rows * walk.zoom[i]
        for other in walk.others:
            if not other.front:
                self._other(canvas, camera, other, foot, unit, i)
        _shadow(canvas, foot, unit)
        pose = walk.phase[i], walk.yaw[i]
        self._draw(canvas, camera, tracklet.person, unit, foot, *pose)
        for other in walk.others:
            if other.front:
                self._other(canvas, camera, other, foot, unit, i)
        if walk.occluder is not None:
            kind, start, speed, size, colour = walk.occluder
            x = columns / 2 + (start - speed * i) * rows
            draw_occluder(canvas, kind, x, size, colour, tracklet.key)
        size = self.width, self.height
        image = cv2.resize(canvas, size, interpolation=cv2.INTER_AREA)
        y, x = walk.noise_at[i]
        noise = self.noise[tracklet.camera - 1]
        noise = noise[y : y + self.height, x : x + self.width]
        return expose(image, camera, walk.gain[i], walk.blur[i] * self.height, noise)

    def _background(self, camera, walk, i, rows, columns) -> np.ndarray:
        scene = self.scenes[camera - 1]
        # scenes have as many pixels for a box as the canvas
        height = walk.box[i] * rows / walk.zoom[i]
        width = height * columns / rows
        bottom = walk.ground[i] * rows - walk.offset[i, 1] * height
        left = walk.place[i] * rows - width / 2 - walk.offset[i, 0] * height
        y1 = int(np.clip(bottom, height, scene.shape[0]))
        x0 = int(np.clip(left, 0, scene.shape[1] - width - 1))
        view = scene[max(0, y1 - int(height)) : y1, x0 : x0 + max(2, int(width))]
        return cv2.resize(view, (columns, rows), interpolation=cv2.INTER_LINEAR)

    def _other(self, canvas, camera, other, foot, unit, i) -> None:
        x = foot[0] + (other.start + other.speed * i) * unit
        if not -0.3 * unit < x < canvas.shape[1] + 0.3 * unit:
            return
        foot, phase = (x, foot[1] + other.lower * unit), i * _CYCLE + other.start
        unit = unit * other.size
        self._draw(canvas, camera, other.key, unit, foot, phase, other.yaw)

    def _draw(self, canvas, camera, key, unit, foot, phase, yaw) -> None:
        view = (camera.pitch, camera.light)
        draw_person(
            canvas, _person(self.seed, key, self.world), unit, foot, phase, yaw, *view
        )


@dataclass
class _Other:
    """Somebody else in the picture."""

    key: int
    front: bool
    start: float
    speed: float
    size: float
    lower: float
    yaw: float


def _shadow(canvas: np.ndarray, foot: tuple, unit: float) -> None:
    """Darken the ground under the feet."""
    x, y = int(foot[0]), int(foot[1])
    half, low = int(0.17 * unit), int(0.03 * unit)
    y0, y1 = max(0, y - low), min(canvas.shape[0], y + low + 1)
    x0, x1 = max(0, x - half), min(canvas.shape[1], x + half + 1)
    if y1 <= y0 or x1 <= x0:
        return
    region = canvas[y0:y1, x0:x1]
    mask = np.zeros(region.shape[:2], np.uint8)
    cv2.ellipse(mask, (x - x0, y - y0), (half, low), 0, 0, 360, 255, -1)
    cv2.copyTo(cv2.convertScaleAbs(region, alpha=0.6), mask, region)


class _Walk:
    """Everything random about a tracklet; arrays have one entry an image."""

    def __init__(self, world: World, tracklet: Tracklet) -> None:
        rng = generator(world.seed, TRACKLET, tracklet.key)
        level = world.difficulty
        camera = world.cameras[tracklet.camera - 1]
        count = len(tracklet.frames)
        steps = np.arange(count)

        back = math.pi * rng.integers(2)
        heading = camera.path + back + rng.normal(0, level.viewpoint)
        self.yaw = heading + np.cumsum(rng.normal(0, 0.08, count))
        phase = rng.uniform(0, 2 * math.pi)
        self.phase = phase + _CYCLE * steps * rng.uniform(0.85, 1.15)
        nearer = 0.06 * math.cos(heading) * (steps - count / 2)
        near = np.clip(rng.uniform() + nearer, 0, 1)
        path = _STEP * math.sin(heading) * steps
        low, high = 0.6 - path.min(), SCENE_SIZE[1] - 0.6 - path.max()
        self.place = rng.uniform(low, max(low + 0.01, high)) + path
        self.box, self.ground = 0.8 + 0.4 * near, 1.2 + 0.45 * near

        # A detector is off by about the same in all images of a tracklet.
        offset = rng.normal(0, 0.7 * level.jitter, 2)
        offset = offset + rng.normal(0, 0.7 * level.jitter, (count, 2))
        zoom = rng.normal(0, level.jitter) + rng.normal(0, 0.7 * level.jitter, count)
        if tracklet.pid == -1 or (tracklet.pid == 0 and rng.random() < 0.5):
            offset = offset + rng.choice([-1, 1], 2) * rng.uniform(0.12, 0.4, 2)
            zoom = zoom + rng.choice([-0.45, 0.5])
        self.offset = offset
        self.zoom = camera.zoom * np.exp(np.clip(zoom, -0.8, 0.8))

        # Light changes along the scene, in the same way for everybody.
        own = generator(world.seed, CAMERA, camera.number, 2)
        waves = zip((0.7, 1.3, 2.1), own.uniform(0, 2 * math.pi, 3))
        along = sum(np.sin(self.place * f + w) for f, w in waves) / 1.5
        self.gain = np.exp(level.lighting * (along + 0.5 * rng.normal()))
        self.blur = camera.blur * rng.uniform(0.7, 1.3, count)
        self.noise_at = rng.integers(0, _NOISE_MARGIN, (count, 2))
        self.others = _others(rng, level, heading)
        self.occluder = _occluder(rng, level, heading)


def _others(rng, level: Difficulty, heading: float) -> list[_Other]:
    others = []
    for front, chance in ((False, level.passers_by), (True, 0.3 * level.occlusion)):
        if rng.random() >= chance:
            continue
        others.append(
            _Other(
                key=_PASSERS_BY + int(rng.integers(1 << 31)),
                front=front,
                start=float(rng.choice([-1, 1]) * rng.uniform(0.17, 0.3)),
                speed=float(rng.normal(0, 0.03)),
                size=float(rng.uniform(1.0, 1.1) if front else rng.uniform(0.75, 0.95)),
                lower=0.05 if front else -0.06,
                yaw=float(heading + math.pi * rng.integers(2) + rng.normal(0, 0.3)),
            )
        )
    return others


def _occluder(rng, level: Difficulty, heading: float) -> tuple | None:
    if rng.random() >= 0.7 * level.occlusion:
        return None
    kind = OCCLUDERS[rng.integers(len(OCCLUDERS))]
    # It stands still: on the image it moves against the walk.
    speed = 0.6 * _STEP * math.sin(heading)
    colour = tuple(float(c) for c in rng.uniform(30, 220, 3))
    start = float(rng.uniform(-0.25, 0.25) + 2.5 * speed)
    return kind, start, speed, float(rng.uniform(0.75, 1.25)), colour
