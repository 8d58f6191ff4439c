# SPDX-License-Identifier: Apache-2.0
"""The report on the pseudo-labels of an epoch, with and without identities."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np

from mmreid_gcl.clustering import (
    PseudoLabels,
    adjusted_rand_index,
    camera_pairs,
    camera_summary,
    cluster_summary,
    normalized_mutual_info,
    pairwise_precision_recall,
    track_summary,
)


@dataclass(frozen=True)
class LabelFreeSignals:
    """Signs of quality that need no identities."""

    clustered: float  #: Share of the images that are in a cluster, in [0, 1]
    #: Agreement (adjusted Rand index) with the labels of the epoch before; at most 1
    stability: float
    #: Mean silhouette of the clustered images on the graph of Jaccard distances, in
    #: [-1, 1]; None if the clusterer has no such graph
    silhouette: float | None
    #: Share of the clustered images whose cluster spans cameras, in [0, 1]; None if
    #: all images are of one camera
    across: float | None = None

    @property
    def score(self) -> float:
        """``clustered * stability * silhouette * (1 + across) / 2``, in [0, 1].

        A product, so that one bad sign is a veto: a collapsed embedding is stable
        and has no outliers, but its silhouette is about 0; a clustering that throws
        most images out has a high silhouette of the rest. Negative signs are taken
        as 0, and one that is None is left out. Clusters within one camera count half:
        people whom one camera alone saw are no fault, so that is no veto.
        """
        silhouette = 1.0 if self.silhouette is None else max(self.silhouette, 0.0)
        across = 1.0 if self.across is None else (1.0 + self.across) / 2.0
        return self.clustered * max(self.stability, 0.0) * silhouette * across

    def to_dict(self) -> dict[str, float | None]:
        """As plain values."""
        return asdict(self)


def label_free_signals(
    labels: np.ndarray,
    previous: np.ndarray,
    silhouette: float | None,
    camids: np.ndarray | None = None,
) -> LabelFreeSignals:
    """Signs of quality of pseudo-labels (N,), in which -1 is an outlier.

    ``previous`` are those of the epoch before; as many, else a ``ValueError``.
    ``silhouette`` is that of ``labels`` by
    :func:`~mmreid_gcl.clustering.graph_silhouette`, ``camids`` (N,) are cameras.
    """
    labels, previous = np.asarray(labels), np.asarray(previous)
    if labels.shape != previous.shape:
        raise ValueError(
            f'label_free_signals: {labels.shape} labels and {previous.shape} labels of '
            'the epoch before; expected as many.'
        )
    clustered = float((labels >= 0).mean()) if len(labels) else 0.0
    across = None
    if camids is not None and len(np.unique(camids)) > 1:
        share = camera_summary(labels, camids)['cross_camera_images']
        across = share / clustered if clustered else 0.0
    stability = adjusted_rand_index(labels, previous)
    return LabelFreeSignals(clustered, stability, silhouette, across)


def report(
    outcome: PseudoLabels,
    stability: float | None = None,
    truth: np.ndarray | None = None,
    records: Mapping[str, np.ndarray] | None = None,
) -> dict[str, float]:
    """Scalars that describe the pseudo-labels of an epoch.

    ``stability`` is that of :class:`LabelFreeSignals`; ``truth`` (N,) are identities,
    for the report alone; ``records`` are (N,) ``camid``, ``track``, ``sequence`` and
    ``frame``.

    The scalars are ``clusters``, ``outliers``, sizes; of several cameras
    ``cross_camera_clusters`` and ``cross_camera_images``; of tracks ``whole_tracks``
    and ``conflicting_tracks`` (:func:`~mmreid_gcl.clustering.track_summary`);
    ``stability`` (ARI with the last epoch); ``silhouette``; with ``truth`` ``ari``,
    ``nmi``, ``precision`` and ``recall`` of pairs, and the same with ``unrefined_``
    before; of several cameras also those of
    :func:`~mmreid_gcl.clustering.camera_pairs`; ``seconds_*``.
    """
    scalars: dict[str, float] = dict(cluster_summary(outcome.labels))
    camids = None if records is None else records['camid']
    several = camids is not None and len(np.unique(camids)) > 1
    if several:
        scalars.update(camera_summary(outcome.labels, camids))
    if records is not None:
        scalars.update(track_summary(outcome.labels, records))
    if stability is not None:
        scalars['stability'] = stability
    if outcome.silhouette is not None:
        scalars['silhouette'] = outcome.silhouette
    if truth is not None:
        scalars.update(_against(outcome.labels, truth))
        if several:
            scalars.update(camera_pairs(outcome.labels, truth, camids))
        if outcome.unrefined_labels is not None:
            unrefined = _against(outcome.unrefined_labels, truth)
            scalars.update({f'unrefined_{k}': v for k, v in unrefined.items()})
    scalars.update({f'seconds_{k}': v for k, v in outcome.seconds.items()})
    return scalars


def describe(epoch: int, scalars: dict[str, float], count: int) -> str:
    """The scalars of :func:`report` as one line of the log.

    ``epoch`` counts from 0; ``count`` is N, the images.
    """
    text = (
        f'Epoch {epoch + 1} pseudo-labels: {scalars["clusters"]:.0f} clusters of '
        f'{scalars["size_min"]:.0f}-{scalars["size_max"]:.0f} images (median '
        f'{scalars["size_median"]:.0f}), {scalars["outliers"]:.0f} of {count} images '
        'are outliers'
    )
    if 'cross_camera_clusters' in scalars:
        text += (
            f'; {scalars["cross_camera_clusters"]:.0f} clusters, with '
            f'{scalars["cross_camera_images"]:.0%} of the images, span cameras'
        )
    if 'whole_tracks' in scalars:
        text += f'; {scalars["whole_tracks"]:.0%} of the tracks are in one cluster'
    if 'conflicting_tracks' in scalars:
        text += (
            f'; {scalars["conflicting_tracks"]:.1%} of the pairs of tracks seen '
            'together share one'
        )
    if 'stability' in scalars:
        text += f'; ARI with the last epoch {scalars["stability"]:.3f}'
    if 'silhouette' in scalars:
        text += f'; silhouette {scalars["silhouette"]:.3f}'
    for prefix, title in (('', ''), ('unrefined_', ' before refinement')):
        if f'{prefix}ari' in scalars:
            values = ', '.join(
                f'{name} {scalars[prefix + name.lower()]:.3f}'
                for name in ('ARI', 'NMI', 'precision', 'recall')
            )
            text += f'; against identities (report only){title}: {values}'
    times = ', '.join(
        f'{key.removeprefix("seconds_")} {value:.1f} s'
        for key, value in scalars.items()
        if key.startswith('seconds_')
    )
    return f'{text}; {times}'


def _against(labels: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    precision, recall = pairwise_precision_recall(labels, truth)
    return dict(
        ari=adjusted_rand_index(labels, truth),
        nmi=normalized_mutual_info(labels, truth),
        precision=precision,
        recall=recall,
    )
