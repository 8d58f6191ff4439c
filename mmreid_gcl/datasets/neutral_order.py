# SPDX-License-Identifier: Apache-2.0
"""An order of the training images that no identity has a part in."""

from __future__ import annotations

import zlib
from collections import Counter
from pathlib import Path


def neutral_order(samples: list[dict]) -> list[dict]:
    """Sort samples by camera, sequence and frame; ties by the image itself.

    In the official data sets a file name begins with the identity. The order
    of the samples decides which of two equal distances wins, how clusters are
    numbered and what the sampler draws, so it must not come from the name.

    Args:
        samples (list[dict]): With ``img_path``, ``camid``, ``sequence`` and
            ``frame``.

    Returns:
        list[dict]: The same samples in another order. Images that share camera
        and time are ordered by the checksum of their bytes; of two identical
        files it does not matter which comes first.
    """

    def time(sample: dict) -> tuple[int, int, int]:
        return sample['camid'], sample['sequence'], sample['frame']

    shared = Counter(map(time, samples))

    def key(sample: dict) -> tuple[tuple[int, int, int], int]:
        moment = time(sample)
        if shared[moment] == 1:
            return moment, 0
        return moment, zlib.crc32(Path(sample['img_path']).read_bytes())

    return sorted(samples, key=key)
