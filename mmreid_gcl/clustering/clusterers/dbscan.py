# SPDX-License-Identifier: Apache-2.0
"""DBSCAN on k-reciprocal Jaccard distances."""

import numpy as np

from ...registry import TASK_UTILS
from ..components import dbscan_on_graph
from ..k_reciprocal import check_parameters, k_reciprocal_jaccard


@TASK_UTILS.register_module()
class DBSCANClusterer:
    """Pseudo-labels by DBSCAN on k-reciprocal Jaccard distances.

    Args:
        eps (float): Radius, in (0, 1). Defaults to 0.6.
        min_samples (int): Rows within the radius, itself counted, that make a
            core point. Defaults to 4.
        k1 (int): Neighbours to encode. Defaults to 30.
        k2 (int): Neighbours to average encodings over. Defaults to 6.
        knn (dict): Options for :func:`~mmreid_gcl.clustering.knn_search`.
            Defaults to ``dict(backend='auto')``.

    Attributes:
        distances_ (scipy.sparse.csr_array): (N, N) distances <= eps of the last
            call, of many exact copies the first pairs
            (:class:`~mmreid_gcl.clustering.k_reciprocal.JaccardGraph`); None before.

    Raises:
        ValueError: If a parameter is out of its range.

    Examples:
        >>> labels = DBSCANClusterer(eps=0.6)(features)  # (N, C) -> (N,)
    """

    def __init__(
        self,
        eps: float = 0.6,
        min_samples: int = 4,
        k1: int = 30,
        k2: int = 6,
        knn: dict | None = None,
    ):
        check_parameters(k1, k2, eps)
        if min_samples < 1:
            raise ValueError(f'min_samples must be at least 1, got {min_samples!r}')
        self.eps = eps
        self.min_samples = min_samples
        self.k1 = k1
        self.k2 = k2
        self.knn = dict(backend='auto') if knn is None else dict(knn)
        self.distances_ = None

    def __call__(self, features) -> np.ndarray:
        """Cluster.

        Args:
            features (np.ndarray | np.memmap | torch.Tensor): (N, C), scaled to
                unit length inside.

        Returns:
            np.ndarray: (N,) int64 labels 0, 1, ..., -1 for outliers.
        """
        self.distances_ = k_reciprocal_jaccard(
            features, self.k1, self.k2, self.eps, self.knn, self.min_samples
        )
        return dbscan_on_graph(self.distances_, self.eps, self.min_samples)
