# SPDX-License-Identifier: Apache-2.0
"""DBSCAN with the reliability criterion of SpCL."""

import numpy as np
import scipy.sparse as sp

from ...labels import by_first_member, outliers_as_classes
from ...registry import TASK_UTILS
from ..components import dbscan_on_graph
from .base import JaccardClusterer, require_at_least


def group_overlap(labels: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Intersection over union of the two groups that each image is in.

    Args:
        labels (np.ndarray): (N,) groups, 0 or more.
        others (np.ndarray): (N,) other groups of the same images.

    Returns:
        np.ndarray: (N,) in (0, 1].
    """
    pairs = np.stack([labels, others], axis=1)
    _, inverse, both = np.unique(pairs, axis=0, return_inverse=True, return_counts=True)
    both = both[inverse.reshape(-1)]
    sizes = np.bincount(labels)[labels] + np.bincount(others)[others]
    return both / (sizes - both)


@TASK_UTILS.register_module()
class SelfPacedClusterer(JaccardClusterer):
    """Keep of DBSCAN's clusters what is independent and compact.

    The reliability criterion of SpCL (Ge et al., NeurIPS 2020). The same distances are
    clustered with a larger and a smaller radius. A cluster is independent if it stays
    what it is with the larger one: the largest overlap of its images with their
    looser groups is at least that of the best 90 % of the clusters of the first
    epoch. An image is compact if its overlap with its tighter group is the largest of
    its cluster. Images that are not both become outliers.

    Args:
        eps (float): Radius. Defaults to 0.6.
        eps_gap (float): What is added and taken away. Defaults to 0.02.
        min_samples (int): As of DBSCAN. Defaults to 4.
        independent (float): Share of the clusters of the first epoch that count as
            independent. Defaults to 0.9.
        k1 (int): Neighbours to encode. Defaults to 30, fewer of less than 900 images.
        k2 (int): Neighbours to average encodings over. Defaults to 6, fewer with k1.
        knn (dict): Options for :func:`~mmreid_gcl.clustering.knn_search`.
            Defaults to ``dict(backend='auto')``.

    Raises:
        ValueError: If a parameter is out of its range.
    """

    def __init__(
        self,
        eps: float = 0.6,
        eps_gap: float = 0.02,
        min_samples: int = 4,
        independent: float = 0.9,
        k1: int | None = None,
        k2: int | None = None,
        knn: dict | None = None,
    ) -> None:
        if not 0 < eps_gap < eps or not 0 < independent <= 1:
            raise ValueError(
                'eps_gap must be in (0, eps) and independent in (0, 1], got '
                f'{eps_gap!r} and {independent!r}'
            )
        super().__init__(eps + eps_gap, k1, k2, knn)
        require_at_least(1, min_samples=min_samples)
        self.eps = eps
        self.eps_gap = eps_gap
        self.min_samples = self.max_copies = min_samples
        self.independent = independent
        self._threshold: float | None = None  # alpha of the paper

    def cluster_graph(self, distances: sp.csr_array) -> np.ndarray:
        """(N, N) distances to (N,) labels."""
        radii = (self.eps, self.eps + self.eps_gap, self.eps - self.eps_gap)
        found = [dbscan_on_graph(distances, r, self.min_samples) for r in radii]
        labels = found[0]
        groups, loose, tight = map(outliers_as_classes, found)
        independence = _largest(group_overlap(groups, loose), groups)
        compactness = group_overlap(groups, tight)
        if self._threshold is None:
            self._threshold = self._cut(independence, labels)
        compact = compactness >= _largest(compactness, groups)
        kept = (independence >= self._threshold) & compact
        return by_first_member(np.where(kept, labels, -1))

    def _cut(self, independence: np.ndarray, labels: np.ndarray) -> float:
        """The independence that the best clusters of the first epoch have."""
        clusters = np.unique(labels[labels >= 0], return_index=True)[1]
        scores = np.sort(independence[labels >= 0][clusters])[::-1]
        last = min(len(scores) - 1, round(len(scores) * self.independent))
        return float(scores[last]) if len(scores) else 0.0

    def state(self) -> dict[str, float]:
        """The threshold of the first epoch."""
        return {} if self._threshold is None else dict(threshold=self._threshold)

    def resume(self, labels: np.ndarray, state: dict[str, float] | None = None) -> None:
        """Take the threshold of the run that is resumed."""
        self._threshold = (state or {}).get('threshold')


def _largest(values: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """(N,) the largest value of each image's group."""
    largest = np.zeros(groups.max(initial=-1) + 1)
    np.maximum.at(largest, groups, values)
    return largest[groups]
