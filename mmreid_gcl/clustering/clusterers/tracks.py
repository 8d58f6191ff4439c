# SPDX-License-Identifier: Apache-2.0
"""Clustering of tracks."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ...labels import by_first_member
from ...registry import TASK_UTILS
from ..tracks import (
    seen_together,
    split_conflicts,
    track_units,
    unit_means,
    without_pairs,
)
from .base import BaseClusterer, JaccardClusterer, Records, require_at_least


@TASK_UTILS.register_module()
class TrackClusterer(BaseClusterer):
    """What trackers know, around a clusterer on Jaccard distances.

    The images of a track get one label. Two tracks that one camera shows at one moment
    get two: the pair is taken out of the graph, and a cluster that still holds both is
    split (:func:`~mmreid_gcl.clustering.tracks.split_conflicts`). Tracks are those of
    the records, see ``PersonFolder``; an image without a track stands for itself.

    Args:
        clusterer (dict | JaccardClusterer): The clusterer of the tracks' means; its
            ``k1``, ``k2`` and ``min_samples`` count tracks.
        cannot_link (bool): Keep tracks of one moment apart. Defaults to True.
        min_single (int, optional): A track that is in no cluster is one of its own if
            it has so many images. Defaults to None: it is an outlier.

    Raises:
        TypeError: If the clusterer is not one on Jaccard distances.
        ValueError: If an argument is out of its range.

    Attributes:
        units_ (np.ndarray | None): (T,) an image of each row of ``distances_``, which
            are those of tracks.
    """

    def __init__(
        self,
        clusterer: dict | JaccardClusterer,
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
        require_at_least(1, min_single=min_single)
        self.clusterer = clusterer
        clusterer.max_copies = None  # pairs are taken out of the graph
        self.cannot_link = cannot_link
        self.min_single = min_single
        self.units_: np.ndarray | None = None

    def check(self, records: Records | None) -> None:
        """Raise a ``ValueError`` if no image has a track."""
        if records is None or not (np.asarray(records['track']) >= 0).any():
            raise ValueError(
                'TrackClusterer needs tracks, and the images have none. PersonFolder '
                'reads them (docs/own_data.md); without, take its clusterer alone.'
            )

    def __call__(self, features, records: Records | None = None) -> np.ndarray:
        """Cluster; see :meth:`BaseClusterer.__call__`."""
        self.check(records)
        assert records is not None
        units = track_units(records['track'])
        self.units_ = np.unique(units, return_index=True)[1]
        own = {n: np.asarray(column)[self.units_] for n, column in records.items()}
        graph = self.clusterer.graph(unit_means(features, units), own)
        if self.cannot_link:
            apart = seen_together(units, records)
            self.distances_ = graph = without_pairs(graph, apart)
            labels = self.clusterer.cluster_graph(graph)
            labels = split_conflicts(labels, graph, apart)
        else:
            self.distances_ = graph
            labels = self.clusterer.cluster_graph(graph)
        if self.min_single is not None:
            single = (labels < 0) & (np.bincount(units) >= self.min_single)
            labels[single] = labels.max(initial=-1) + 1 + np.arange(single.sum())
        return by_first_member(labels[units])

    def state(self) -> dict[str, float]:
        """That of the clusterer."""
        return self.clusterer.state()

    def resume(self, labels: np.ndarray, state: dict[str, float] | None = None) -> None:
        """Hand over to the clusterer."""
        self.clusterer.resume(labels, state)
