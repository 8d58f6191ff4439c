# SPDX-License-Identifier: Apache-2.0
"""A procedural data set of people, in Market-1501's layout.

The way of an image: a plan says who passes which camera when (``plan``); a
person has looks (``appearance``, ``textures``) and walks (``body``); it is drawn
(``figure``, ``shapes``) on a camera's scenery (``scene``), and the camera adds its
own (``camera``); ``render`` puts this together and ``writer`` does it for all.
"""

from .appearance import Person, sample_person
from .camera import Camera, Difficulty, sample_camera
from .plan import Layout, Tracklet, plan_tracklets
from .render import World
from .writer import MANIFEST, VERSION, finished_manifest, write_synthetic

__all__ = [
    'MANIFEST',
    'VERSION',
    'Camera',
    'Difficulty',
    'Layout',
    'Person',
    'Tracklet',
    'World',
    'finished_manifest',
    'plan_tracklets',
    'sample_camera',
    'sample_person',
    'write_synthetic',
]
