# SPDX-License-Identifier: Apache-2.0
"""Control clusterers, whose labels must not train a good network.

They show whether a gain comes from the pseudo-labels or from something else.
"""

from __future__ import annotations

import zlib

import numpy as np

from mmreid_gcl.registry import TASK_UTILS

from .clusterers.base import BaseClusterer, Records, call_clusterer


@TASK_UTILS.register_module()
class ShuffledLabels(BaseClusterer):
    """Another clusterer's labels, dealt to the images at random every time.

    Number and sizes of the clusters stay what they are. The deal is a function of
    seed and labels, so a resumed training goes on as it would have.

    Args:
        clusterer (dict): Config of the clusterer.
        seed (int): Seed of the deal. Defaults to 0.
    """

    def __init__(self, clusterer: dict, seed: int = 0) -> None:
        self.clusterer = TASK_UTILS.build(clusterer)
        self.seed = seed

    def __call__(self, features, records: Records | None = None) -> np.ndarray:
        """Cluster; see :meth:`BaseClusterer.__call__`."""
        labels = call_clusterer(self.clusterer, features, records)
        rng = np.random.default_rng([self.seed, zlib.crc32(labels.tobytes())])
        return rng.permutation(labels)

    def state(self) -> dict[str, float]:
        """That of the clusterer."""
        own = isinstance(self.clusterer, BaseClusterer)
        return self.clusterer.state() if own else {}

    def resume(self, labels: np.ndarray, state: dict[str, float] | None = None) -> None:
        """Hand the clusterer its state; see :meth:`BaseClusterer.resume`."""
        if isinstance(self.clusterer, BaseClusterer):
            self.clusterer.resume(labels, state)


@TASK_UTILS.register_module()
class FrozenLabels(BaseClusterer):
    """The labels of another clusterer's first call, for ever.

    Args:
        clusterer (dict): Config of the clusterer.
    """

    def __init__(self, clusterer: dict) -> None:
        self.clusterer = TASK_UTILS.build(clusterer)
        self._labels: np.ndarray | None = None

    def __call__(self, features, records: Records | None = None) -> np.ndarray:
        """Cluster; see :meth:`BaseClusterer.__call__`."""
        if self._labels is None:
            self._labels = call_clusterer(self.clusterer, features, records)
        return self._labels.copy()

    def resume(self, labels: np.ndarray, state: dict[str, float] | None = None) -> None:
        """Take the (N,) labels of the training that is resumed."""
        self._labels = labels.copy()
