# SPDX-License-Identifier: Apache-2.0
"""k-means on unit-length features."""

import numpy as np

from mmreid_gcl.parallel import all_cores

from ...labels import by_first_member
from ...registry import TASK_UTILS
from ..features import prepare_features
from .base import BaseClusterer, Records, require_at_least


@TASK_UTILS.register_module()
class KMeansClusterer(BaseClusterer):
    """Pseudo-labels by k-means (faiss); knows no outliers.

    Args:
        num_clusters (int): Clusters to look for; those that stay empty are left
            out.
        num_iters (int): Iterations. Defaults to 20.
        num_redo (int): Starts to take the best of. Defaults to 1.
        spherical (bool): Scale centres to unit length in every iteration.
            Defaults to True.
        seed (int): Of the starts. Defaults to 0.

    Raises:
        ValueError: If ``num_clusters`` is below 1, or above the number of rows.
    """

    def __init__(
        self,
        num_clusters: int,
        num_iters: int = 20,
        num_redo: int = 1,
        spherical: bool = True,
        seed: int = 0,
    ) -> None:
        require_at_least(
            1, num_clusters=num_clusters, num_iters=num_iters, num_redo=num_redo
        )
        self.num_clusters = num_clusters
        self.num_iters = num_iters
        self.num_redo = num_redo
        self.spherical = spherical
        self.seed = seed

    def __call__(self, features, records: Records | None = None) -> np.ndarray:
        """Cluster; see :meth:`BaseClusterer.__call__`. There are no outliers."""
        import faiss

        features = prepare_features(features, unit=True)
        n, c = features.x.shape
        if self.num_clusters > n:
            raise ValueError(
                f'num_clusters={self.num_clusters}, but there are only {n} features'
            )
        kmeans = faiss.Kmeans(
            c,
            self.num_clusters,
            niter=self.num_iters,
            nredo=self.num_redo,
            spherical=self.spherical,
            seed=self.seed,
            min_points_per_centroid=1,
        )
        labels = np.empty(n, np.int64)
        with all_cores():
            # faiss trains on at most 256 rows a cluster; it copies the rest never
            kmeans.train(features.rows())
            for start in range(0, n, 65536):
                part = slice(start, start + 65536)
                labels[part] = kmeans.index.search(features.rows(part), 1)[1][:, 0]
        return by_first_member(labels)
