# SPDX-License-Identifier: Apache-2.0
"""Infomap on k-reciprocal Jaccard distances."""

import numpy as np
import scipy.sparse as sp

from ...labels import by_first_member
from ...registry import TASK_UTILS
from ..k_reciprocal import representatives
from .base import JaccardClusterer, require_at_least


@TASK_UTILS.register_module()
class InfomapClusterer(JaccardClusterer):
    """Pseudo-labels by Infomap on the graph of Jaccard distances.

    Rosvall and Bergstrom, *Maps of random walks on complex networks reveal
    community structure*, PNAS 2008. Rows within ``eps`` are linked with weight
    1 - d; clusters are the modules of the best two-level map. Many exact copies of
    an image are one node with their links and their flow. Needs the package
    ``infomap``.

    Args:
        eps (float): Largest distance of a link, in (0, 1). Defaults to 0.6.
        min_cluster_size (int): Rows of smaller modules are outliers. Defaults
            to 2: only rows that are alone.
        k1 (int): Neighbours to encode. Defaults to 30, fewer of less than 900 images.
        k2 (int): Neighbours to average encodings over. Defaults to 6, fewer with k1.
        num_trials (int): Searches to take the best of. Defaults to 1.
        seed (int): Of the search. Defaults to 0.
        knn (dict): Options for :func:`~mmreid_gcl.clustering.knn_search`.
            Defaults to ``dict(backend='auto')``.

    Raises:
        ImportError: If the package ``infomap`` is not installed.
        ValueError: If a parameter is out of its range.
    """

    max_copies = 1

    def __init__(
        self,
        eps: float = 0.6,
        min_cluster_size: int = 2,
        k1: int | None = None,
        k2: int | None = None,
        num_trials: int = 1,
        seed: int = 0,
        knn: dict | None = None,
    ) -> None:
        super().__init__(eps, k1, k2, knn)
        require_at_least(1, min_cluster_size=min_cluster_size, num_trials=num_trials)
        _infomap()  # says so now, not after an hour of training
        self.eps = eps
        self.min_cluster_size = min_cluster_size
        self.num_trials = num_trials
        self.seed = seed

    def cluster_graph(self, distances: sp.csr_array) -> np.ndarray:
        """(N, N) distances to (N,) labels."""
        return by_first_member(self._modules(distances), self.min_cluster_size)

    def _modules(self, distances: sp.csr_array) -> np.ndarray:
        upper = sp.triu(distances, k=1, format='coo')
        labels = np.arange(distances.shape[0])
        if not upper.nnz:
            return labels
        node = labels.copy()
        links = [upper.row, upper.col, 1.0 - upper.data.astype(np.float64)]
        if getattr(distances, 'copies', None) is not None:
            # too far from each other for a link: none that could be left out
            near = np.flatnonzero(distances.copy_distances < 1)
            node = representatives(distances, near)
            nodes, sizes = np.unique(node, return_counts=True)
            nodes, sizes = nodes[sizes > 1], sizes[sizes > 1]
            closeness = 1.0 - distances.copy_distances[distances.copies[nodes]]
            # a link to itself has the flow of the pairs that are not stored
            inside = [nodes, nodes, sizes * (sizes - 1) * closeness]
            links = [node[links[0]], node[links[1]], links[2]]
            links = [np.append(*parts) for parts in zip(links, inside)]
        network = _infomap()(
            silent=True,
            two_level=True,
            seed=self.seed + 1,  # its seeds begin at 1
            num_trials=self.num_trials,
        )
        network.add_links(np.stack(links, axis=1))
        network.run()
        modules = network.get_modules()
        nodes = np.fromiter(modules.keys(), np.int64, len(modules))
        values = np.fromiter(modules.values(), np.int64, len(modules))
        labels[nodes] = values + len(labels)  # rows without a link keep their own
        return labels[node]


def _infomap():
    try:
        from infomap import Infomap
    except ImportError as error:
        raise ImportError(
            'InfomapClusterer needs the package infomap: pip install infomap'
        ) from error
    return Infomap
