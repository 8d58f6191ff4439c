# SPDX-License-Identifier: Apache-2.0
"""The synthetic set: drawn people in Market-1501's layout.

``plan`` decides who passes which camera when. ``appearance``, ``textures`` and ``body``
describe a person, ``scene`` and ``camera`` a camera. ``figure`` and ``shapes`` draw,
``render`` makes the images, ``writer`` writes them.
"""

from .appearance import Person, sample_person
from .camera import WORLDS, Camera, Difficulty, sample_camera
from .plan import Layout, Tracklet, plan_tracklets
from .render import World
from .writer import MANIFEST, VERSION, finished_manifest, write_synthetic

__all__ = [
    'MANIFEST', 'VERSION', 'WORLDS', 'Camera', 'Difficulty', 'Layout', 'Person',
    'Tracklet',
    'World', 'finished_manifest', 'plan_tracklets', 'sample_camera', 'sample_person',
    'write_synthetic',
]  # fmt: skip
