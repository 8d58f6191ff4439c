# SPDX-License-Identifier: Apache-2.0
"""Base classes of clusterers, and of those on Jaccard distances."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from math import isqrt

import numpy as np
import scipy.sparse as sp
from mmengine.logging import print_log

from .._knn_cameras import camera_knn
from ..k_reciprocal import check_parameters, k_reciprocal_jaccard

#: What is known of the images besides their identity, (N,) arrays: ``img_path``,
#: ``camid``, ``sequence``, ``frame``, ``moment`` (``frame`` where that is a time) and
#: ``track`` (-1: unknown; else one camera's, and no identity: a person may have many).
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

    def check(self, records: Records | None) -> None:  # noqa: B027
        """Raise a ``ValueError`` if these images cannot be clustered.

        Before any is embedded. ``records`` are those of :meth:`__call__`.
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


def scaled_neighbours(count: int) -> tuple[int, int]:
    """k1 and k2 for so many images: 30 and 6 of the paper from 900 on.

    Of fewer k1 is the square root and k2 a fifth of that, rounded up. Where k1 is a
    large share of all images everything is a neighbour of everything, and one cluster.
    """
    k1 = min(30, max(2, isqrt(count)))
    return k1, -(-k1 // 5)


class JaccardClusterer(BaseClusterer):
    """A clusterer on the sparse graph of k-reciprocal Jaccard distances.

    Args:
        max_distance (float): Largest distance in the graph, in (0, 1).
        k1 (int, optional): Neighbours to encode. Defaults to 30, of less than 900
            images to fewer (:func:`scaled_neighbours`); a number is taken as it is.
        k2 (int, optional): Neighbours to average encodings over. Defaults to 6, to
            fewer where k1 is scaled.
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
        k1: int | None = None,
        k2: int | None = None,
        knn: dict | None = None,
    ) -> None:
        given = (30 if k1 is None else k1, 6 if k2 is None else k2)
        check_parameters(*given, max_distance)
        self.max_distance = max_distance
        self.k1 = k1
        self.k2 = k2
        self.knn = dict(backend='auto') if knn is None else dict(knn)
        others = {k: v for k, v in self.knn.items() if k != 'intra'}
        if 'intra' in self.knn and others not in ({}, {'backend': 'auto'}):
            raise ValueError(
                f'knn: intra takes no other option, got {sorted(others)}: its search '
                'is exact, by torch.'
            )
        self.distances_ = None
        self._told = False

    def __call__(self, features, records: Records | None = None) -> np.ndarray:
        """Cluster; see :meth:`BaseClusterer.__call__`."""
        k1, k2 = self.neighbours(len(features))
        if self.k1 is None and k1 < 30 and not self._told:
            self._told = True
            print_log(
                f'{len(features)} images are few for 30 neighbours: k1={k1}, k2={k2}. '
                'Set k1 and k2 of the clusterer for others.',
                logger='current',
            )
        self.distances_ = self.graph(features, records)
        return self.cluster_graph(self.distances_)

    def graph(self, features, records: Records | None = None) -> sp.csr_array:
        """(N, N) Jaccard distances up to ``max_distance`` of (N, C) features."""
        k1, k2 = self.neighbours(len(features))
        knn: dict | tuple = self.knn
        if 'intra' in knn:
            if records is None:
                raise ValueError('knn=dict(intra=...) needs the cameras of the images.')
            k = max(k1, k2)
            intra = min(int(self.knn['intra']), k - 1)  # k1 is smaller of few images
            knn = camera_knn(features, records['camid'], k, intra)
        return k_reciprocal_jaccard(
            features, k1, k2, self.max_distance, knn, self.max_copies
        )

    def neighbours(self, count: int) -> tuple[int, int]:
        """k1 and k2 in use for ``count`` images."""
        k1, k2 = scaled_neighbours(count) if self.k1 is None else (self.k1, 6)
        return k1, k2 if self.k2 is None else self.k2

    @abstractmethod
    def cluster_graph(self, distances: sp.csr_array) -> np.ndarray:
        """Cluster the graph.

        Args:
            distances (scipy.sparse.csr_array): (N, N) all Jaccard distances up to
                ``max_distance``.

        Returns:
            np.ndarray: (N,) int64 labels, -1 for outliers.
        """


def collapse(
    labels: np.ndarray, clusterer: Callable, when: str | None = None
) -> str | None:
    """What to do about less than two clusters, which tell nothing apart.

    Args:
        labels (np.ndarray): (N,) clusters, -1 is an outlier.
        clusterer (Callable): What found them.
        when (str, optional): Where they were found. Defaults to 'in <N> images'.

    Returns:
        str | None: What was found, the clusterer's settings and advice; None of two or
        more clusters.
    """
    count = len(np.unique(labels[labels >= 0]))
    if count > 1:
        return None
    found = 'one cluster ' if count else 'no cluster '
    found += when or f'in {len(labels)} images'
    advice = 'Change its settings'
    units = getattr(clusterer, 'units_', None)
    rows = len(labels if units is None else units)
    inner = getattr(clusterer, 'clusterer', clusterer)  # of tracks
    if isinstance(inner, JaccardClusterer):
        k1, k2 = inner.neighbours(rows)
        less = min(max(2, k1 // 2), scaled_neighbours(rows)[0])
        advice = (
            f'Lower k1={k1} and k2={k2}, such as k1={less} k2={-(-less // 5)}; if that '
            'does not help, lower eps (max_distance)'
            if count
            else 'Raise eps (max_distance), lower min_samples (min_cluster_size), or '
            f'raise k1={k1}'
        )
    return f'Clustering found {found}. {advice}. The clusterer: {clusterer!r}.'


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
