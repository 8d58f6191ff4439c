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

#: How many usual steps of a track its images may lie apart while it is seen.
GAP = 4


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
    """Pairs of tracks that one camera shows at one moment.

    A track is seen from its first to its last image, but not in gaps of more than
    :data:`GAP` times its usual step: there the tracker lost the person, and often gave
    another number.

    Args:
        units (np.ndarray): (N,) in [0, T), of :func:`track_units`.
        records (Mapping[str, np.ndarray]): (N,) ``track``, ``camid``, ``sequence`` and
            ``moment``, the frame where that is a time; -1 is unknown. Without it all
            are those of ``frame``.

    Returns:
        np.ndarray: (M, 2) int64 units, the smaller number first, sorted. Images without
        a track or a known moment are in none.
    """
    moments = np.asarray(records.get('moment', records['frame']))
    rows = np.flatnonzero((moments >= 0) & (np.asarray(records['track']) >= 0))
    rows = rows[np.lexsort((moments[rows], units[rows]))]
    units, moments = np.asarray(units)[rows], moments[rows]
    first, last = _stretches(units, moments)
    where = np.stack([records['camid'], records['sequence']], axis=1)[rows[first]]
    pairs: set[tuple[int, int]] = set()
    seen: list[tuple[int, int]] = []  # unit, last moment
    place = None
    for i in np.lexsort((moments[first], *where.T)).tolist():
        here = tuple(where[i])
        if here != place:
            seen, place = [], here
        unit, begin = int(units[first[i]]), moments[first[i]]
        seen = [(other, end) for other, end in seen if end >= begin]
        others = {other for other, _ in seen} - {unit}
        pairs |= {(min(unit, other), max(unit, other)) for other in others}
        seen.append((unit, moments[last[i]]))
    return np.array(sorted(pairs), np.int64).reshape(-1, 2)


def _stretches(units: np.ndarray, moments: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """First and last rows of the parts of tracks without gaps; sorted (N,) rows."""
    begins = np.diff(units, prepend=-1) != 0
    steps = np.diff(moments, prepend=0)
    own = np.flatnonzero(~begins)
    order = own[np.lexsort((steps[own], units[own]))]
    _, start, count = np.unique(units[order], return_index=True, return_counts=True)
    usual = np.zeros(int(units.max(initial=-1)) + 1, np.int64)
    usual[units[order[start]]] = steps[order[start + (count - 1) // 2]]  # the median
    begins |= ~begins & (steps > GAP * np.maximum(usual[units], 1))
    first = np.flatnonzero(begins)
    return first, np.append(first[1:], len(units))[: len(first)] - 1


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
