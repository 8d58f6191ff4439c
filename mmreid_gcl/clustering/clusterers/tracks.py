# SPDX-License-Identifier: Apache-2.0
"""Clustering of tracks."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import scipy.sparse as sp

from ...labels import by_first_member
from ...registry import TASK_UTILS
from ..tracks import (
    seen_together,
    split_conflicts,
    track_units,
    unit_graph,
    unit_means,
    without_pairs,
)
from .base import BaseClusterer, JaccardClusterer, Records, require_at_least

_WAYS = ('mean', 'links')


@TASK_UTILS.register_module()
class TrackClusterer(BaseClusterer):
    """What trackers know, around a clusterer on Jaccard distances.

    The images of a track get one label. Two tracks that one camera shows at one moment
    get two: the pair is taken out of the graph, and a cluster that still holds both is
    split (:func:`~mmreid_gcl.clustering.tracks.split_conflicts`). Tracks are those of
    the records, see ``PersonFolder``; an image without a track stands for itself.

    Args:
        clusterer (dict | JaccardClusterer): The clusterer. With ``by='mean'`` its
            ``k1``, ``k2`` and ``min_samples`` count tracks.
        by (str): 'mean' clusters one mean a track, 'links' the images, those of a
            track at distance 0. Defaults to 'mean'.
        cannot_link (bool): Keep tracks of one moment apart. Defaults to True.
        min_single (int, optional): A track that is in no cluster is one of its own if
            it has so many images. Defaults to None: it is an outlier.

    Raises:
        TypeError: If the clusterer is not one on Jaccard distances.
        ValueError: If an argument is out of its range.

    Attributes:
        units_ (np.ndarray | None): (T,) with ``by='mean'`` an image of each row of
            ``distances_``, which are those of tracks.
    """

    def __init__(
        self,
        clusterer: dict | JaccardClusterer,
        by: str = 'mean',
        cannot_link: bool = True,
        min_single: int | None = None,
    ) -> None:
        if isinstance(clusterer, Mapping):
            clusterer = TASK_UTILS.build(clusterer)
        if not isinstance(clusterer, JaccardClusterer):
            raise TypeError(
                'TrackClusterer needs a clusterer on Jaccard distances, such as '
                f'DBSCANClusterer, got {type(clusterer).__name__}.'
            )
        if by not in _WAYS:
            raise ValueError(f'by must be one of {_WAYS}, got {by!r}.')
        require_at_least(1, min_single=min_single)
        self.clusterer = clusterer
        self.by = by
        self.cannot_link = cannot_link
        self.min_single = min_single
        self.units_: np.ndarray | None = None

    def __call__(self, features, records: Records | None = None) -> np.ndarray:
        """Cluster; see :meth:`BaseClusterer.__call__`."""
        if records is None or not (np.asarray(records['track']) >= 0).any():
            raise ValueError(
                'TrackClusterer needs tracks, and the images have none. PersonFolder '
                'reads them (docs/own_data.md); without, take its clusterer alone.'
            )
        units = track_units(records['track'])
        first = np.unique(units, return_index=True)[1]
        apart = seen_together(units, records) if self.cannot_link else _NO_PAIRS
        if self.by == 'mean':
            self.units_ = first
            own = {name: np.asarray(column)[first] for name, column in records.items()}
            graph = self.clusterer.graph(unit_means(features, units), own)
            graph = without_pairs(graph, apart) if len(apart) else graph
            labels = self.clusterer.cluster_graph(graph)
            between = graph
        else:
            graph = self._linked(self.clusterer.graph(features, records), units, apart)
            labels = _majority(self.clusterer.cluster_graph(graph), units)
            between = unit_graph(graph, units)
        self.distances_ = graph
        labels = split_conflicts(labels, between, apart)
        if self.min_single is not None:
            single = (labels < 0) & (np.bincount(units) >= self.min_single)
            labels[single] = labels.max(initial=-1) + 1 + np.arange(single.sum())
        return by_first_member(labels[units])

    def _linked(self, graph, units: np.ndarray, apart: np.ndarray) -> sp.csr_array:
        """Distances of images, those of a track at 0 and those of a pair far."""
        if len(apart):
            entries = graph.tocoo()
            count = len(np.unique(units))
            code = units[entries.row] * count + units[entries.col]
            both = np.concatenate([apart, apart[:, ::-1]])
            kept = ~np.isin(code, both[:, 0] * count + both[:, 1])
            graph = sp.csr_array(
                (entries.data[kept], (entries.row[kept], entries.col[kept])),
                shape=graph.shape,
            )
        order = np.argsort(units, kind='stable')
        sizes = np.bincount(units)
        rows = np.repeat(order, sizes[units[order]])
        starts = np.cumsum(sizes) - sizes
        columns = np.concatenate(
            [np.tile(order[a : a + s], s) for a, s in zip(starts, sizes)]
        )
        # closeness, of which the larger counts where both have an entry
        entries = graph.tocoo()
        near = sp.csr_array(
            (1 - entries.data, (entries.row, entries.col)), shape=graph.shape
        )
        ones = np.ones(len(rows), near.dtype)
        near = near.maximum(sp.csr_array((ones, (rows, columns)), shape=graph.shape))
        near.data = 1 - near.data
        near.sort_indices()
        return sp.csr_array(near)

    def state(self) -> dict[str, float]:
        """That of the clusterer."""
        return self.clusterer.state()

    def resume(self, labels: np.ndarray, state: dict[str, float] | None = None) -> None:
        """Hand over to the clusterer."""
        self.clusterer.resume(labels, state)


_NO_PAIRS = np.empty((0, 2), np.int64)


def _majority(labels: np.ndarray, units: np.ndarray) -> np.ndarray:
    """(T,) the label that most images of a unit have, the smaller of equal ones."""
    table = sp.coo_array(
        (np.ones(len(units), np.int64), (units, labels + 1)),
        shape=(int(units.max()) + 1, int(labels.max(initial=-1)) + 2),
    ).tocsr()
    return np.asarray(table.argmax(axis=1)).reshape(-1) - 1
