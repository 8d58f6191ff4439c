# SPDX-License-Identifier: Apache-2.0
"""HDBSCAN on k-reciprocal Jaccard distances."""

import numpy as np
import scipy.sparse as sp

from ...labels import by_first_member
from ...registry import TASK_UTILS
from ..k_reciprocal import representatives
from .base import JaccardClusterer, require_at_least


@TASK_UTILS.register_module()
class HDBSCANClusterer(JaccardClusterer):
    """Pseudo-labels by HDBSCAN on a sparse graph of Jaccard distances.

    Campello et al., *Density-Based Clustering Based on Hierarchical Density
    Estimates*, PAKDD 2013, by scikit-learn. It finds clusters of different
    densities and needs no radius. Euclidean HDBSCAN builds space trees, which
    do not help in hundreds of dimensions; here it runs on all Jaccard distances
    up to ``max_distance``. Any larger distance counts as 1, the largest there
    is: clusters that only such links would join are not joined.

    Args:
        min_cluster_size (int): Smallest cluster. Defaults to 4.
        min_samples (int, optional): Neighbours in the estimate of density, the
            row itself counted. Defaults to ``min_cluster_size``.
        max_distance (float): Largest distance to compute, in (0, 1). Memory
            grows with it. Defaults to 0.8.
        k1 (int): Neighbours to encode. Defaults to 30, fewer of less than 900 images.
        k2 (int): Neighbours to average encodings over. Defaults to 6, fewer with k1.
        cluster_selection_method (str): 'eom' or 'leaf', as in scikit-learn.
            Defaults to 'eom'.
        cluster_selection_epsilon (float): Clusters nearer than this are merged.
            Defaults to 0.
        knn (dict): Options for :func:`~mmreid_gcl.clustering.knn_search`.
            Defaults to ``dict(backend='auto')``.

    Raises:
        ValueError: If a parameter is out of its range.
    """

    def __init__(
        self,
        min_cluster_size: int = 4,
        min_samples: int | None = None,
        max_distance: float = 0.8,
        k1: int | None = None,
        k2: int | None = None,
        cluster_selection_method: str = 'eom',
        cluster_selection_epsilon: float = 0.0,
        knn: dict | None = None,
    ) -> None:
        super().__init__(max_distance, k1, k2, knn)
        require_at_least(2, min_cluster_size=min_cluster_size)
        require_at_least(1, min_samples=min_samples)
        self.min_cluster_size = min_cluster_size
        self.min_samples = min_samples or min_cluster_size
        # one more stands for the rest; with as many, densities are those with all
        self.max_copies = max(self.min_samples, min_cluster_size) - 1
        self.cluster_selection_method = cluster_selection_method
        self.cluster_selection_epsilon = cluster_selection_epsilon

    def cluster_graph(self, distances: sp.csr_array) -> np.ndarray:
        """(N, N) distances to (N,) labels."""
        if getattr(distances, 'copies', None) is not None:
            row = representatives(distances, np.arange(len(distances.copy_distances)))
            kept, place = np.unique(row, return_inverse=True)
            few = sp.csr_array(distances)[kept][:, kept]
            return by_first_member(self.cluster_graph(few)[place])
        n = distances.shape[0]
        if n <= max(self.min_samples, self.min_cluster_size):
            return np.full(n, -1, np.int64)  # too few rows for any two clusters
        from sklearn.cluster import HDBSCAN  # takes two seconds

        model = HDBSCAN(
            min_cluster_size=self.min_cluster_size,
            min_samples=self.min_samples,
            cluster_selection_method=self.cluster_selection_method,
            cluster_selection_epsilon=self.cluster_selection_epsilon,
            metric='precomputed',
            algorithm='brute',
            copy=True,
        )
        graph = connect(distances, self.min_samples)
        return by_first_member(model.fit_predict(graph))


def connect(distances: sp.csr_array, links: int) -> sp.csr_array:
    """Add links of length 1 until every row has enough and all hang together.

    Every row gets links to the ``links`` rows behind it, in a ring, where it
    has none. A tree algorithm needs a connected graph; at the length of what
    is not stored these links say nothing that is not so.

    Args:
        distances (scipy.sparse.csr_array): (N, N), symmetric.
        links (int): Links to add a row.

    Returns:
        scipy.sparse.csr_array: (N, N), symmetric, connected. Zeros off the
        diagonal (copies) become 1e-7, for a stored zero means no link there.
    """
    n = distances.shape[0]
    coo = distances.tocoo()
    values = np.where(coo.row == coo.col, 0, np.maximum(coo.data, 1e-7))
    rows = np.tile(np.arange(n), min(links, n - 1))
    columns = (rows + np.repeat(np.arange(1, min(links, n - 1) + 1), n)) % n
    # Sums of 1 - d, with the new links at a hair above 0, are a union in which
    # links that were there stay what they are up to that hair.
    tiny = 1e-9
    near = sp.coo_array((1 - values.astype(np.float64), (coo.row, coo.col)), (n, n))
    far = sp.coo_array((np.full(len(rows), tiny), (rows, columns)), (n, n))
    union = (near + far + far.T).tocsr()
    union.data = np.clip(1 - union.data, 0, 1)
    if union.nnz <= np.iinfo(np.int32).max:  # older scipy's trees take no other indices
        union.indices = union.indices.astype(np.int32)
        union.indptr = union.indptr.astype(np.int32)
    return union
