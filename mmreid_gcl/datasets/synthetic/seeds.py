# SPDX-License-Identifier: Apache-2.0
"""Random generators, one for each thing that is drawn."""

from __future__ import annotations

import numpy as np

#: First key of a generator: what it is for.
PERSON, CAMERA, SCENE, PLAN, TRACKLET, TRACK = range(6)


def generator(*keys: int) -> np.random.Generator:
    """A generator that depends on its keys alone, such as ``(seed, PERSON, pid)``.

    Nothing is drawn from a shared stream, so an image does not depend on the
    number of workers nor on what was rendered before it.
    """
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(keys)))
