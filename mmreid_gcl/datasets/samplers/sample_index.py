# SPDX-License-Identifier: Apache-2.0
"""SampleIndex: an index with the label and the seed of its draw."""

from __future__ import annotations


class SampleIndex(int):
    """An image's index with the pseudo-label and the random seed of its draw.

    It is an ``int``, so any data set takes it. A
    :class:`~mmreid_gcl.datasets.ReIDDataset` also reads its two attributes.
    They travel from the sampler (main process) to the worker inside the
    index: a persistent worker's old copy of the data set never sees a stale
    label, and an augmentation depends on the position in training alone.

    Args:
        index (int): Position of the image in the data set.
        label (int, optional): Its pseudo-label in this epoch.
        seed (int, optional): Seed of the random transforms of this draw,
            in [0, 2**63).
    """

    label: int | None
    seed: int | None

    def __new__(cls, index: int, label: int | None = None, seed: int | None = None):
        """An int that carries ``label`` and ``seed``."""
        self = super().__new__(cls, index)
        self.label = label
        self.seed = seed
        return self

    def __getnewargs__(self):
        return int(self), self.label, self.seed

    def __repr__(self) -> str:
        return f'SampleIndex({int(self)}, label={self.label}, seed={self.seed})'
