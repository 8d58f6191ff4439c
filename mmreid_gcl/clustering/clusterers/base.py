# SPDX-License-Identifier: Apache-2.0
"""Base classes of clusterers, and of those on Jaccard distances."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping

import numpy as np
import scipy.sparse as sp

from .._knn_cameras import camera_knn
from ..k_reciprocal import check_parameters, k_reciprocal_jaccard

#: What is known of the images besides their identity, (N,) arrays: ``img_path``,
#: ``camid``, ``sequence``, ``frame`` and ``track`` (-1: unknown; else one camera's,
#: and no identity: a person may have many).
Records = Mapping[str, np.ndarray]


class BaseClusterer(ABC):
    """From features to cluster labels.

    :class:`~mmreid_gcl.clustering.Labeller` calls a clusterer once an epoch, on one
    process.

    Attributes:
        distances_ (scipy.sparse.csr_array | None): (N, N) graph of distances that
            the labels of the last call were found on, the diagonal stored; None if
            there is no such graph. The silhouette in the log is computed on it.
    """

    distances_: sp.csr_array | None = None

    @abstractmethod
    def __call__(self, features, records: Records | None = None) -> np.ndarray:
        """Cluster.

        Args:
            features (np.ndarray | np.memmap | torch.Tensor): (N, C), scaled to unit
                length inside.
            records (Mapping[str, np.ndarray], optional): What is known of the
                images, see :data:`Records`. Never their identity.

        Returns:
            np.ndarray: (N,) int64 labels 0, 1, ... without gaps, -1 for outliers.
        """

    def state(self) -> dict[str, float]:
        """Plain values that a checkpoint keeps for :meth:`resume`; mostly none."""
        return {}

    def resume(self, labels: np.ndarray, state: dict[str, float] | None = None) -> None:  # noqa: B027
        """Take over from the run that is resumed.

        Args:
            labels (np.ndarray): (N,) those of the last finished clustering.
            state (dict[str, float]): What :meth:`state` gave then.
        """

    def __repr__(self) -> str:
        names = list(inspect.signature(type(self)).parameters)
        settings = [f'{name}={getattr(self, name, None)!r}' for name in names]
        return f'{type(self).__name__}({", ".join(settings)})'


class JaccardClusterer(BaseClusterer):
    """A clusterer on the sparse graph of k-reciprocal Jaccard distances.

    Args:
        max_distance (float): Largest distance in the graph, in (0, 1).
        k1 (int): Neighbours to encode. Defaults to 30.
        k2 (int): Neighbours to average encodings over. Defaults to 6.
        knn (dict, optional): Options for :func:`~mmreid_gcl.clustering.knn_search`.
            Defaults to ``dict(backend='auto')``. ``dict(intra=5)`` takes five of the
            ``k1`` neighbours from the own camera and the rest from others
            (:func:`~mmreid_gcl.clustering._knn_cameras.camera_knn`).

    Raises:
        ValueError: If a parameter is out of its range.
    """

    #: How many of many exact copies have all their pairs in the graph; None: all.
    max_copies: int | None = None

    def __init__(
        self,
        max_distance: float,
        k1: int = 30,
        k2: int = 6,
        knn: dict | None = None,
    ) -> None:
        check_parameters(k1, k2, max_distance)
        self.max_distance = max_distance
        self.k1 = k1
        self.k2 = k2
        self.knn = dict(backend='auto') if knn is None else dict(knn)
        self.distances_ = None

    def __call__(self, features, records: Records | None = None) -> np.ndarray:
        """Cluster; see :meth:`BaseClusterer.__call__`."""
        self.distances_ = self.graph(features, records)
        return self.cluster_graph(self.distances_)

    def graph(self, features, records: Records | None = None) -> sp.csr_array:
        """(N, N) Jaccard distances up to ``max_distance`` of (N, C) features."""
        knn: dict | tuple = self.knn
        if 'intra' in knn:
            if records is None:
                raise ValueError('knn=dict(intra=...) needs the cameras of the images.')
            k = max(self.k1, self.k2)
            knn = camera_knn(features, records['camid'], k, **self.knn)
        return k_reciprocal_jaccard(
            features, self.k1, self.k2, self.max_distance, knn, self.max_copies
        )

    @abstractmethod
    def cluster_graph(self, distances: sp.csr_array) -> np.ndarray:
        """Cluster the graph.

        Args:
            distances (scipy.sparse.csr_array): (N, N) all Jaccard distances up to
                ``max_distance``.

        Returns:
            np.ndarray: (N,) int64 labels, -1 for outliers.
        """


def call_clusterer(
    clusterer: Callable, features: np.ndarray, records: Records | None
) -> np.ndarray:
    """Labels by a clusterer, or by a plain function of the features.

    Args:
        clusterer (Callable): A :class:`BaseClusterer`, or a function of the features.
        features (np.ndarray): (N, C).
        records (Mapping[str, np.ndarray], optional): What is known of the images.

    Returns:
        np.ndarray: (N,) labels.

    Raises:
        ValueError: If there are more or fewer.
    """
    plain = len(inspect.signature(clusterer).parameters) < 2
    labels = clusterer(features) if plain else clusterer(features, records)
    if np.shape(labels) != (len(features),):
        raise ValueError(
            f'{type(clusterer).__name__} gave labels of shape {np.shape(labels)} for '
            f'{len(features)} images; expected {(len(features),)}.'
        )
    return labels


def require_at_least(minimum: int, **values: int | None) -> None:
    """Raise if an argument that is given is too small.

    Raises:
        ValueError: With its name.
    """
    for name, value in values.items():
        if value is not None and value < minimum:
            raise ValueError(f'{name} must be at least {minimum}, got {value!r}')
