# SPDX-License-Identifier: Apache-2.0
"""Tracks: images that are one person, and pairs that are two.

A tracker follows a person through one camera, so images of a track show one person;
two tracks of a camera at one moment are two people. Neither needs a label.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import scipy.sparse as sp

from mmreid_gcl.labels import by_first_member

from .features import prepare_features


def track_units(tracks: np.ndarray) -> np.ndarray:
    """Numbers of tracks without gaps.

    Args:
        tracks (np.ndarray): (N,) track of each image; -1 is in none.

    Returns:
        np.ndarray: (N,) int64 in [0, T), in the order of the first image. An image
        without a track is a unit of its own.
    """
    tracks = np.asarray(tracks)
    keys = np.where(tracks >= 0, tracks, -1 - np.arange(len(tracks)))
    _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    place = np.empty(len(first), np.int64)
    place[np.argsort(first, kind='stable')] = np.arange(len(first))
    return place[inverse.reshape(-1)]


def unit_means(features: np.ndarray, units: np.ndarray) -> np.ndarray:
    """Unit-length mean of the images of each unit.

    Args:
        features (np.ndarray): (N, C).
        units (np.ndarray): (N,) in [0, T), none empty.

    Returns:
        np.ndarray: (T, C) float32; a mean of length 0 stays 0.

    Raises:
        ValueError: If a feature is a zero vector or not finite; names the first.
    """
    features = prepare_features(features, unit=True).rows()
    count = int(units.max()) + 1
    member = sp.csr_array(
        (np.ones(len(units), np.float32), (units, np.arange(len(units)))),
        shape=(count, len(units)),
    )
    sums = member @ features
    length = np.linalg.norm(sums, axis=1, keepdims=True)
    return sums / np.where(length > 0, length, 1)


def seen_together(units: np.ndarray, records: Mapping[str, np.ndarray]) -> np.ndarray:
    """Pairs of units that one camera shows at one moment.

    Args:
        units (np.ndarray): (N,) in [0, T).
        records (Mapping[str, np.ndarray]): (N,) ``camid``, ``sequence`` and ``frame``;
            a frame of -1 is unknown.

    Returns:
        np.ndarray: (M, 2) int64, the smaller number first, sorted. Two units are
        together if the frames from the first to the last image of one and of the other
        overlap, in one camera and sequence. Units without a known frame are in none.
    """
    frames = np.asarray(records['frame'])
    known = frames >= 0
    count = int(units.max(initial=-1)) + 1
    first = np.full(count, np.iinfo(np.int64).max)
    last = np.full(count, -1)
    np.minimum.at(first, units[known], frames[known])
    np.maximum.at(last, units[known], frames[known])
    where = np.zeros((count, 2), np.int64)
    where[units] = np.stack([records['camid'], records['sequence']], axis=1)
    timed = np.flatnonzero(last >= 0)
    order = timed[np.lexsort((first[timed], *where[timed].T))]
    pairs: list[tuple[int, int]] = []
    open_units: list[int] = []
    place = None
    for unit in order.tolist():
        here = tuple(where[unit])
        if here != place:
            open_units, place = [], here
        open_units = [other for other in open_units if last[other] >= first[unit]]
        pairs += [(min(unit, other), max(unit, other)) for other in open_units]
        open_units.append(unit)
    return np.array(sorted(pairs), np.int64).reshape(-1, 2)


def without_pairs(distances: sp.csr_array, pairs: np.ndarray) -> sp.csr_array:
    """A graph of distances in which some pairs are far.

    Args:
        distances (scipy.sparse.csr_array): (T, T), what is not stored is far.
        pairs (np.ndarray): (M, 2) rows.

    Returns:
        scipy.sparse.csr_array: Without these entries.
    """
    if not len(pairs):
        return distances
    n = distances.shape[0]
    graph = distances.tocoo()
    forbidden = np.concatenate([pairs, pairs[:, ::-1]])
    code = graph.row.astype(np.int64) * n + graph.col
    kept = ~np.isin(code, forbidden[:, 0] * n + forbidden[:, 1])
    entries = graph.data[kept], (graph.row[kept], graph.col[kept])
    out = sp.csr_array(entries, shape=(n, n))
    out.sort_indices()
    return out


def split_conflicts(
    labels: np.ndarray, distances: sp.csr_array, pairs: np.ndarray
) -> np.ndarray:
    """Split clusters that hold two units which cannot be one person.

    Only those: their units are joined again, nearest first, and a join that would bring
    such a pair together is left out (single linkage with constraints).

    Args:
        labels (np.ndarray): (T,) clusters, -1 is an outlier.
        distances (scipy.sparse.csr_array): (T, T), what is not stored is far.
        pairs (np.ndarray): (M, 2) units that are two people.

    Returns:
        np.ndarray: (T,) clusters without gaps in the order of their first unit. A part
        of one unit is a cluster of one.
    """
    labels = np.array(labels, np.int64)
    a, b = pairs.T if len(pairs) else (np.empty(0, int), np.empty(0, int))
    inside = (labels[a] == labels[b]) & (labels[a] >= 0)
    enemies: dict[int, set[int]] = {}
    for one, other in zip(a[inside].tolist(), b[inside].tolist()):
        enemies.setdefault(one, set()).add(other)
        enemies.setdefault(other, set()).add(one)
    graph = sp.csr_array(distances)
    fresh = int(labels.max(initial=-1)) + 1
    for cluster in np.unique(labels[a[inside]]).tolist():
        rows = np.flatnonzero(labels == cluster)
        group = {row: {row} for row in rows.tolist()}
        hostile = {row: set(enemies.get(row, ())) for row in rows.tolist()}
        part = graph[rows][:, rows].tocoo()
        upper = part.row < part.col
        ends = rows[part.row[upper]], rows[part.col[upper]]
        for edge in np.lexsort((ends[1], ends[0], part.data[upper])).tolist():
            one, other = group[ends[0][edge]], group[ends[1][edge]]
            lead, follow = min(one), min(other)
            if one is other or hostile[lead] & other:
                continue
            lead, follow = min(lead, follow), max(lead, follow)
            hostile[lead] |= hostile.pop(follow)
            one |= other
            for row in other:
                group[row] = one
        for number, members in enumerate(sorted({min(g) for g in group.values()})):
            if number:
                labels[sorted(group[members])] = fresh
                fresh += 1
    return by_first_member(labels)
