# SPDX-License-Identifier: Apache-2.0
"""DBSCAN on k-reciprocal Jaccard distances."""

import numpy as np
import scipy.sparse as sp

from ...registry import TASK_UTILS
from ..components import dbscan_on_graph
from .base import JaccardClusterer, require_at_least


@TASK_UTILS.register_module()
class DBSCANClusterer(JaccardClusterer):
    """Pseudo-labels by DBSCAN on k-reciprocal Jaccard distances.

    Args:
        eps (float): Radius, in (0, 1). Defaults to 0.6.
        min_samples (int): Rows within the radius, itself counted, that make a
            core point. Defaults to 4.
        k1 (int): Neighbours to encode. Defaults to 30, fewer of less than 900 images.
        k2 (int): Neighbours to average encodings over. Defaults to 6, fewer with k1.
        knn (dict): Options for :func:`~mmreid_gcl.clustering.knn_search`.
            Defaults to ``dict(backend='auto')``.

    Raises:
        ValueError: If a parameter is out of its range.

    Examples:
        >>> labels = DBSCANClusterer(eps=0.6)(features)  # (N, C) -> (N,)
    """

    def __init__(
        self,
        eps: float = 0.6,
        min_samples: int = 4,
        k1: int | None = None,
        k2: int | None = None,
        knn: dict | None = None,
    ) -> None:
        super().__init__(eps, k1, k2, knn)
        require_at_least(1, min_samples=min_samples)
        self.min_samples = self.max_copies = min_samples

    @property
    def eps(self) -> float:
        """Radius."""
        return self.max_distance

    def cluster_graph(self, distances: sp.csr_array) -> np.ndarray:
        """(N, N) distances to (N,) labels."""
        return dbscan_on_graph(distances, self.eps, self.min_samples)
