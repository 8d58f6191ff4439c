# SPDX-License-Identifier: Apache-2.0
"""Differences between cameras: colours, light, blur, noise."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace

import cv2
import numpy as np

from .seeds import CAMERA, generator

#: What of a :class:`Difficulty` is 1 at most.
SHARES = ('saturation', 'passers_by', 'occlusion')


@dataclass(frozen=True)
class Difficulty:
    """How hard the cameras make it to know a person again.

    Every value is 0 where its nuisance is off; :meth:`scaled` turns all of
    them up or down together.
    """

    #: Colour cast of a camera: standard deviation of the logarithm of a channel's gain
    cast: float = 0.03
    exposure: float = 0.05  #: Brightness of a camera, likewise
    gamma: float = 0.05  #: Gamma of a camera, likewise
    saturation: float = 0.15  #: Largest loss of colour in a camera, 0..1
    lighting: float = 0.05  #: Light and shade within a camera, as exposure
    clutter: float = 1.0  #: Objects in the scenery, relative to the usual number
    passers_by: float = 0.12  #: Probability of another person behind
    occlusion: float = 0.12  #: Probability that something gets in front in a tracklet
    #: Standard deviation of the box's place and size, in heights of the box
    jitter: float = 0.025
    #: Spread of the walking direction around the camera's path, radians
    viewpoint: float = 0.45
    #: Largest blur, in heights of the image (0.01 is 1.3 pixels of 128)
    blur: float = 0.005
    noise: float = 5.0  #: Largest standard deviation of the sensor's noise, grey levels

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not (isinstance(value, (int, float)) and 0 <= value < math.inf):
                raise ValueError(
                    f'Difficulty: {name} must be a number of at least 0, got {value!r}.'
                )
            if name in SHARES and value > 1:
                raise ValueError(
                    f'Difficulty: {name} is a share, at most 1, got {value!r}.'
                )

    def scaled(self, factor: float) -> Difficulty:
        """All nuisances times a factor, 0 takes them away; shares stop at 1."""
        values = {f.name: getattr(self, f.name) * factor for f in fields(self)}
        for name in SHARES:
            values[name] = min(1.0, values[name])
        return replace(self, **values)


#: World of the synthetic set: its cameras. The second has other light, more that gets
#: in the way, and people turn more.
WORLDS = {
    'first': Difficulty(),
    'second': Difficulty(
        cast=0.05,
        exposure=0.08,
        gamma=0.08,
        saturation=0.3,
        lighting=0.08,
        clutter=1.5,
        passers_by=0.2,
        occlusion=0.2,
        viewpoint=0.7,
        blur=0.006,
        noise=7.0,
    ),
}


@dataclass(frozen=True)
class Camera:
    """One camera."""

    number: int  #: From 1 on, as in the file names
    mix: np.ndarray  #: (3, 3) colour matrix: cast and loss of colour
    gamma: float  #: Exponent of the grey levels
    exposure: float  #: Gain
    #: Direction in which people walk here, radians, see :func:`~.body.project`;
    #: half of them walk the other way
    path: float
    pitch: float  #: How far it looks down, radians
    zoom: float  #: Height of a person in the box, relative to the usual
    detail: float  #: Resolution of its crops relative to the output, up to 1
    blur: float  #: Standard deviation of its blur, in image heights
    noise: float  #: Standard deviation of its noise, grey levels
    quality: int  #: JPEG quality
    light: float  #: Direction of the light, radians


def sample_camera(seed: int, number: int, difficulty: Difficulty) -> Camera:
    """Set up camera ``number``, from 1 on, of a data set with this seed."""
    rng = generator(seed, CAMERA, number)
    gains = np.exp(rng.normal(0, difficulty.cast, 3))
    gains /= gains.mean()
    grey = rng.uniform(0, difficulty.saturation)
    keep = (1 - grey) * np.eye(3) + grey * np.array([[0.114, 0.587, 0.299]] * 3)
    low = min(0.5, 0.25 * difficulty.blur / 0.005)
    return Camera(
        number=number,
        mix=gains[:, None] * keep,
        gamma=float(np.exp(rng.normal(0, difficulty.gamma))),
        exposure=float(np.exp(rng.normal(0, difficulty.exposure))),
        path=float(rng.uniform(0, 2 * math.pi)),
        pitch=float(rng.uniform(0.05, 0.3)),
        zoom=float(1 + rng.uniform(-1, 1) * difficulty.jitter),
        detail=float(rng.uniform(1 - low, 1)),
        blur=float(rng.uniform(0, difficulty.blur)),
        noise=float(rng.uniform(0.25, 1) * difficulty.noise),
        quality=int(rng.integers(75, 96)),
        light=float(rng.uniform(-1.2, 1.2)),
    )


def tone_curve(camera: Camera, gain: float) -> np.ndarray:
    """Grey levels to grey levels, (256,) uint8: exposure, gamma, a soft shoulder.

    ``gain`` is the light where the person stands.
    """
    level = np.arange(256) / 255.0
    level = (level * camera.exposure * gain) ** camera.gamma
    # Highlights are compressed, not cut off: colours stay apart.
    level = np.where(level < 0.75, level, 0.75 + 0.25 * np.tanh((level - 0.75) * 4))
    return np.rint(255 * np.clip(level, 0, 1)).astype(np.uint8)


def expose(
    image: np.ndarray, camera: Camera, gain: float, blur: float, noise: np.ndarray
) -> np.ndarray:
    """What the camera makes of a view (h, w, 3) uint8 in true colours.

    ``gain`` is the light where the person stands, ``blur`` a standard deviation in
    pixels, ``noise`` (h, w, 3) int16 and added at the end.
    """
    image = cv2.transform(image, camera.mix)
    image = cv2.LUT(image, tone_curve(camera, gain))
    height, width = image.shape[:2]
    if camera.detail < 0.95:
        wide, high = round(width * camera.detail), round(height * camera.detail)
        size = (max(4, wide), max(8, high))
        small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        image = cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)
    if blur > 0.25:
        image = cv2.GaussianBlur(image, (0, 0), blur)
    return cv2.add(image, noise, dtype=cv2.CV_8U)
