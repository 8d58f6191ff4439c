# SPDX-License-Identifier: Apache-2.0
"""The fingerprint of the training images, to compare two runs."""

from __future__ import annotations

import hashlib
import os
from typing import NamedTuple

from .concat_dataset import ConcatDataset
from .reid_dataset import ReIDDataset


class ImagesFingerprint(NamedTuple):
    """How many images a data set has, and a checksum of their names."""

    count: int  # type: ignore[assignment]  # in place of tuple.count
    digest: str


def images_fingerprint(dataset: ReIDDataset | ConcatDataset) -> ImagesFingerprint:
    """Describe the images of a data set by their number and sorted names.

    The names are taken below the folder that all images have in common, so a data set
    that was moved stays the same. What is in the files does not count: that would mean
    to read all of them.
    """
    digest = hashlib.blake2b(digest_size=16)
    count = 0
    for part in getattr(dataset, 'datasets', [dataset]):
        paths = [os.path.abspath(path) for path in part.column('img_path').tolist()]
        common = os.path.commonpath([os.path.dirname(path) for path in paths])
        for name in sorted(os.path.relpath(path, common) for path in paths):
            digest.update(os.fsencode(name) + b'\0')
        digest.update(b'\0')
        count += len(paths)
    return ImagesFingerprint(count, digest.hexdigest())
