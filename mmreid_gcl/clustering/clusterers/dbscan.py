# SPDX-License-Identifier: Apache-2.0
"""DBSCAN on k-reciprocal Jaccard distances."""

from itertools import pairwise

import numpy as np
import scipy.sparse as sp
from mmengine.logging import print_log

from ...registry import TASK_UTILS
from ..components import dbscan_on_graph
from ..label_quality import adjusted_rand_index
from .base import JaccardClusterer, require_at_least

#: Radii that ``eps='auto'`` chooses from.
RADII = (0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.65, 0.7)


@TASK_UTILS.register_module()
class DBSCANClusterer(JaccardClusterer):
    """Pseudo-labels by DBSCAN on k-reciprocal Jaccard distances.

    Args:
        eps (float | str): Radius, in (0, 1). 'auto' takes the most stable one of 0.35
            to 0.65 every time (:func:`stable_radius`). Defaults to 0.6.
        min_samples (int): Rows within the radius, itself counted, that make a
            core point. Defaults to 4.
        k1 (int): Neighbours to encode. Defaults to 30, fewer of less than 900 images.
        k2 (int): Neighbours to average encodings over. Defaults to 6, fewer with k1.
        knn (dict): Options for :func:`~mmreid_gcl.clustering.knn_search`, or
            ``dict(intra=5)``, see :class:`JaccardClusterer`.
            Defaults to ``dict(backend='auto')``.

    Raises:
        ValueError: If a parameter is out of its range.

    Examples:
        >>> labels = DBSCANClusterer(eps=0.6)(features)  # (N, C) -> (N,)
    """

    def __init__(
        self,
        eps: float | str = 0.6,
        min_samples: int = 4,
        k1: int | None = None,
        k2: int | None = None,
        knn: dict | None = None,
    ) -> None:
        if isinstance(eps, str) and eps != 'auto':
            raise ValueError(f"eps must be a number in (0, 1) or 'auto', got {eps!r}.")
        super().__init__(RADII[-1] if isinstance(eps, str) else eps, k1, k2, knn)
        require_at_least(1, min_samples=min_samples)
        self.eps = eps
        self.min_samples = self.max_copies = min_samples

    def cluster_graph(self, distances: sp.csr_array) -> np.ndarray:
        """(N, N) distances to (N,) labels."""
        radius = self.eps
        if isinstance(radius, str):
            radius = stable_radius(distances, self.min_samples)
            print_log(f'DBSCAN: the most stable radius is {radius}', logger='current')
        return dbscan_on_graph(distances, radius, self.min_samples)


def stable_radius(
    distances: sp.csr_array, min_samples: int, radii: tuple[float, ...] = RADII
) -> float:
    """The radius at which DBSCAN's labels hang least on it.

    A radius is worth the smaller of the agreements (adjusted Rand index) of its labels
    with those of the radii beside it, times the share of rows in clusters, times the
    share that is not in the largest cluster: where all are outliers or all are one
    cluster, labels are stable and useless.

    Args:
        distances (scipy.sparse.csr_array): (N, N) all distances up to the largest.
        min_samples (int): As of DBSCAN.
        radii (tuple[float, ...]): Ascending, at least three; the first and the last are
            never chosen.

    Returns:
        float: One of ``radii``, the smallest of equally good ones.
    """
    found = [dbscan_on_graph(distances, radius, min_samples) for radius in radii]
    agreement = [adjusted_rand_index(*pair) for pair in pairwise(found)]
    worth = []
    for number, labels in enumerate(found[1:-1]):
        sizes = np.bincount(labels[labels >= 0], minlength=1)
        share = (sizes.sum() - sizes.max()) / max(len(labels), 1)
        worth.append(min(agreement[number : number + 2]) * share)
    return radii[1 + int(np.argmax(worth))]
