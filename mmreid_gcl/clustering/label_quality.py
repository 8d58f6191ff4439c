# SPDX-License-Identifier: Apache-2.0
"""Quality of labels: agreement with others (ARI, NMI) and silhouette on a graph.

An outlier (-1) of a clustering counts as a cluster of its own.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from scipy.sparse import coo_array, csr_array

from ..labels import outliers_as_classes
from .k_reciprocal import JaccardGraph
from .tracks import seen_together

_PLACES = ('track', 'camid', 'sequence', 'frame', 'moment')


def adjusted_rand_index(labels: np.ndarray, truth: np.ndarray) -> float:
    """Adjusted Rand index (ARI): 1 is equal, 0 what chance gives.

    Args:
        labels (np.ndarray): (N,) clusters, -1 is an outlier.
        truth (np.ndarray): (N,) identities, or other labels.

    Returns:
        float: At most 1.
    """
    from sklearn.metrics import adjusted_rand_score  # takes two seconds

    return float(
        adjusted_rand_score(outliers_as_classes(truth), outliers_as_classes(labels))
    )


def normalized_mutual_info(labels: np.ndarray, truth: np.ndarray) -> float:
    """Normalised mutual information (NMI, arithmetic mean), in [0, 1].

    Args:
        labels (np.ndarray): (N,) clusters, -1 is an outlier.
        truth (np.ndarray): (N,) identities, or other labels.
    """
    from sklearn.metrics import normalized_mutual_info_score

    return float(
        normalized_mutual_info_score(
            outliers_as_classes(truth), outliers_as_classes(labels)
        )
    )


def pairwise_precision_recall(
    labels: np.ndarray, truth: np.ndarray
) -> tuple[float, float]:
    """Precision and recall of "these two images are one person".

    Args:
        labels (np.ndarray): (N,) clusters, -1 is an outlier.
        truth (np.ndarray): (N,) identities.

    Returns:
        tuple[float, float]: The share of the pairs in one cluster that have one
        identity (1 without such a pair), and the share of the pairs of one
        identity that are in one cluster (1 likewise).
    """
    rows = np.unique(outliers_as_classes(labels), return_inverse=True)[1]
    columns = np.unique(outliers_as_classes(truth), return_inverse=True)[1]
    table = coo_array((np.ones(len(rows), np.int64), (rows, columns))).tocsr()
    together = _pairs(table.data)
    clustered, identical = _pairs(table.sum(axis=1)), _pairs(table.sum(axis=0))
    precision = together / clustered if clustered else 1.0
    recall = together / identical if identical else 1.0
    return float(precision), float(recall)


def camera_pairs(
    labels: np.ndarray, truth: np.ndarray, camids: np.ndarray
) -> dict[str, float]:
    """Precision and recall of pairs within a camera and across cameras.

    Args:
        labels (np.ndarray): (N,) clusters, -1 is an outlier.
        truth (np.ndarray): (N,) identities.
        camids (np.ndarray): (N,) cameras.

    Returns:
        dict[str, float]: ``precision_within``, ``recall_within``,
        ``precision_across`` and ``recall_across``; see
        :func:`pairwise_precision_recall`. Recall across cameras says how many images
        of a person are split over cameras, which is what re-identification is for.
    """
    labels, truth = outliers_as_classes(labels), outliers_as_classes(truth)
    columns = dict(clustered=(labels,), identical=(truth,), together=(labels, truth))
    found: dict[str, dict[str, int]] = dict(within={}, across={})
    for name, keys in columns.items():
        found['within'][name] = _equal_pairs(*keys, camids)
        found['across'][name] = _equal_pairs(*keys) - found['within'][name]
    out = {}
    for where, count in found.items():
        for name, among in (('precision', 'clustered'), ('recall', 'identical')):
            total = count[among]
            out[f'{name}_{where}'] = count['together'] / total if total else 1.0
    return out


def _equal_pairs(*keys: np.ndarray) -> int:
    """Pairs of images that are equal in all keys."""
    return _pairs(np.unique(np.stack(keys), axis=1, return_counts=True)[1])


def _pairs(counts: np.ndarray) -> int:
    return int((counts * (counts - 1) // 2).sum())


def graph_silhouette(distances: csr_array, labels: np.ndarray) -> float:
    """Mean silhouette of the clustered images on a thresholded distance graph.

    A label-free sign of quality. For each clustered image, a is its mean
    distance to the rest of its cluster and b the smallest mean distance to
    another cluster; its silhouette is (b - a) / max(a, b). A pair that the
    graph does not hold is taken to be at distance 1, the largest Jaccard distance,
    and a cluster of one image counts 0, as in scikit-learn.

    Args:
        distances (csr_array): (N, N) distances up to a threshold, at most 1; of a
            :class:`~mmreid_gcl.clustering.k_reciprocal.JaccardGraph` the pairs that
            are not stored count as well.
        labels (np.ndarray): (N,) clusters, -1 is an outlier and left out.

    Returns:
        float: In [-1, 1]; 0 with fewer than two clusters.
    """
    labels = np.asarray(labels)
    kept = np.flatnonzero(labels >= 0)
    clusters, own = np.unique(labels[kept], return_inverse=True)
    if len(clusters) < 2:
        return 0.0
    graph = csr_array(distances)[kept][:, kept].tocoo()
    # sums of 1 - distance are sparse: absent pairs add nothing
    closeness = coo_array(
        (1.0 - graph.data, (graph.row, own[graph.col])),
        shape=(len(kept), len(clusters)),
    ).tocsr()
    if getattr(distances, 'copies', None) is not None:
        closeness += _closeness_of_copies(distances, kept, own, closeness.shape)
    sizes = np.bincount(own)
    images = np.arange(len(kept))
    inside = np.asarray(closeness[images, own]).ravel()
    diagonal = np.zeros(len(kept))
    loops = graph.row == graph.col
    diagonal[graph.row[loops]] = 1.0 - graph.data[loops]
    others = sizes[own] - 1
    a = 1.0 - (inside - diagonal) / np.maximum(others, 1)
    means = closeness.tocoo()
    foreign = means.col != own[means.row]
    nearest = np.zeros(len(kept))
    np.maximum.at(
        nearest,
        means.row[foreign],
        means.data[foreign] / sizes[means.col[foreign]],
    )
    b = 1.0 - nearest
    largest = np.maximum(a, b)
    values = np.where(
        (others > 0) & (largest > 0), (b - a) / np.where(largest > 0, largest, 1), 0.0
    )
    return float(values.mean())


def _closeness_of_copies(
    distances: JaccardGraph, kept: np.ndarray, own: np.ndarray, shape: tuple[int, int]
) -> coo_array:
    """What the pairs add that a ``JaccardGraph`` does not store."""
    rows, columns, values = [np.empty(0, int)], [np.empty(0, int)], [np.empty(0)]
    assert distances.copies is not None and distances.copy_distances is not None
    for number, distance in enumerate(distances.copy_distances):
        if distance >= 1:
            continue
        same = np.flatnonzero(distances.copies[kept] == number)
        clusters, counts = np.unique(own[same], return_counts=True)
        for cluster, count in zip(clusters, counts):
            rows.append(same)
            columns.append(np.full(len(same), cluster))
            values.append((1.0 - distance) * (count - (own[same] == cluster)))
    where = np.concatenate(rows), np.concatenate(columns)
    return coo_array((np.concatenate(values), where), shape=shape)


def track_summary(
    labels: np.ndarray, records: Mapping[str, np.ndarray]
) -> dict[str, float]:
    """Two errors of a clustering that tracks show, without identities.

    A clusterer that obeys tracks makes neither, whatever the features are.

    Args:
        labels (np.ndarray): (N,) clusters, -1 is an outlier.
        records (Mapping[str, np.ndarray]): (N,) ``track`` (-1: in none), ``camid``,
            ``sequence`` and ``moment`` (or ``frame``).

    Returns:
        dict[str, float]: ``whole_tracks``, the share of the tracks of two or more
        images whose images are all in one cluster; ``conflicting_tracks``, the share
        of the pairs of tracks that one camera shows at one moment, which are two
        people, of which a cluster holds images of both. Each only if there are such
        tracks, or such pairs.
    """
    rows = np.flatnonzero(np.asarray(records['track']) >= 0)
    labels = np.asarray(labels)[rows]
    own = {n: np.asarray(records[n])[rows] for n in _PLACES if n in records}
    units = np.unique(own['track'], return_inverse=True)[1].reshape(-1)
    sizes = np.bincount(units)
    # (track, cluster) once each; a track in one cluster has one, and no outlier
    found = np.unique(np.stack([units, labels]), axis=1)
    split = np.bincount(found[0], minlength=len(sizes)) > 1
    split[found[0][found[1] < 0]] = True
    out = {}
    if (sizes > 1).any():
        out['whole_tracks'] = float(1 - split[sizes > 1].mean())
    pairs = seen_together(units, own)
    if len(pairs):
        units, clusters = found[:, found[1] >= 0]
        member = coo_array(
            (np.ones(len(units), np.int64), (units, clusters)),
            shape=(len(sizes), int(clusters.max(initial=-1)) + 1),
        ).tocsr()
        both = member[pairs[:, 0]].multiply(member[pairs[:, 1]]).sum(axis=1) > 0
        out['conflicting_tracks'] = float(both.mean())
    return out


def cluster_summary(labels: np.ndarray) -> dict[str, float]:
    """Counts and sizes of clusters.

    Args:
        labels (np.ndarray): (N,) clusters, -1 is an outlier.

    Returns:
        dict[str, float]: ``clusters``, ``outliers``, and ``size_min``,
        ``size_median`` and ``size_max`` (0 without clusters).
    """
    labels = np.asarray(labels)
    sizes = np.unique(labels[labels >= 0], return_counts=True)[1]
    if not len(sizes):
        sizes = np.zeros(1, np.int64)
    return dict(
        clusters=int((sizes > 0).sum()),
        outliers=int((labels < 0).sum()),
        size_min=int(sizes.min()),
        size_median=float(np.median(sizes)),
        size_max=int(sizes.max()),
    )
