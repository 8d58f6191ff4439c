# SPDX-License-Identifier: Apache-2.0
"""Tracks as units and as what cannot be one person, by plain loops."""

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmreid_gcl.clustering import (
    DBSCANClusterer,
    KMeansClusterer,
    Labeller,
    TrackClusterer,
    graph_silhouette,
    k_reciprocal_jaccard,
)
from mmreid_gcl.clustering.clusterers.base import collapse
from mmreid_gcl.clustering.tracks import (
    seen_together,
    split_conflicts,
    track_units,
    unit_means,
    without_pairs,
)

from .reference import stretches

images = st.lists(
    st.tuples(
        st.integers(-1, 5),  # track
        st.integers(0, 1),  # sequence
        st.integers(-1, 12),  # frame
    ),
    min_size=1,
    max_size=25,
)


def records_of(rows):
    track, sequence, frame = map(np.array, zip(*rows))
    # a track is in one camera and sequence
    return dict(
        track=track,
        camid=track % 2,
        sequence=np.where(track >= 0, track // 3, sequence),
        frame=frame,
    )


def test_a_number_that_the_tracker_gave_in_a_gap():
    """A person who is lost, tracked as another one and found again is one."""
    frames = [*range(0, 41, 2), *range(60, 81, 2), *range(100, 141, 2)]
    track = [0] * 21 + [1] * 11 + [0] * 21
    other = dict(frame=[*frames, 70, 10], track=[*track, 2, -1])
    records = {name: np.array(column) for name, column in other.items()}
    records.update(camid=np.zeros(55, int), sequence=np.zeros(55, int))
    units = track_units(records['track'])
    assert seen_together(units, records).tolist() == [[1, 2]]
    records['moment'] = np.full(55, -1)  # frames are the order of names
    assert seen_together(units, records).tolist() == []


@settings(deadline=None, max_examples=100)
@given(images)
def test_units_and_what_is_seen_together(rows):
    records = records_of(rows)
    units = track_units(records['track'])
    expected, known = [], {}
    for number, track in enumerate(records['track'].tolist()):
        key = track if track >= 0 else ('alone', number)
        expected.append(known.setdefault(key, len(known)))
    assert units.tolist() == expected
    frames, place = {}, {}
    for number, unit in enumerate(expected):
        if records['track'][number] >= 0 and records['frame'][number] >= 0:
            frames.setdefault(unit, []).append(int(records['frame'][number]))
            place[unit] = records['camid'][number], records['sequence'][number]
    spans = {unit: stretches(sorted(found)) for unit, found in frames.items()}
    together = [
        [a, b]
        for a in sorted(spans)
        for b in sorted(spans)
        if a < b
        and place[a] == place[b]
        and any(x[0] <= y[1] and y[0] <= x[1] for x in spans[a] for y in spans[b])
    ]
    assert seen_together(units, records).tolist() == together


def test_means_have_unit_length():
    x = np.array([[2.0, 0], [0, 3], [0, 1]], np.float32)
    means = unit_means(x, np.array([0, 0, 1]))
    half = np.sqrt(0.5)
    np.testing.assert_allclose(means, [[half, half], [0, 1]], rtol=1e-6)


def dense_graph(count, seed):
    rng = np.random.default_rng(seed)
    distances = np.triu(rng.uniform(0.01, 0.9, (count, count)).astype(np.float32), 1)
    distances[rng.random((count, count)) < 0.4] = 0
    return sp.csr_array(distances + distances.T)


@settings(deadline=None, max_examples=60)
@given(
    count=st.integers(2, 12),
    seed=st.integers(0, 1000),
    pairs=st.lists(st.tuples(st.integers(0, 11), st.integers(0, 11)), max_size=8),
)
def test_no_cluster_holds_a_pair_and_others_stay(count, seed, pairs):
    graph = dense_graph(count, seed)
    labels = np.random.default_rng(seed).integers(-1, 3, count)
    apart = [sorted(p) for p in pairs if p[0] != p[1] and max(p) < count]
    apart = np.array(sorted(set(map(tuple, apart))), np.int64).reshape(-1, 2)
    found = split_conflicts(labels, graph, apart)
    assert ((found < 0) == (labels < 0)).all()
    hostile = {tuple(p) for p in apart.tolist()}
    for a in range(count):
        for b in range(a):
            if found[a] == found[b] >= 0:
                assert labels[a] == labels[b]  # only split, never joined
                assert (b, a) not in hostile
    for cluster in set(labels[labels >= 0].tolist()):
        rows = np.flatnonzero(labels == cluster)
        if not any({a, b} <= set(rows.tolist()) for a, b in hostile):
            assert len(set(found[rows].tolist())) == 1
    # joined greedily: the nearest pair of a split cluster that may be one, is one
    far = without_pairs(graph, apart).toarray()
    for a, b in apart.tolist():
        assert far[a, b] == far[b, a] == 0
    assert (far[far > 0] == graph.toarray()[far > 0]).all()


def test_a_cluster_is_split_by_distance():
    """0-1 and 2-3 are near, 1-2 is the bridge, 0 and 3 are two people."""
    graph = np.zeros((4, 4), np.float32)
    for a, b, d in ((0, 1, 0.1), (2, 3, 0.2), (1, 2, 0.3)):
        graph[a, b] = graph[b, a] = d
    labels = split_conflicts(np.zeros(4, int), sp.csr_array(graph), np.array([[0, 3]]))
    assert labels.tolist() == [0, 0, 1, 1]


def people(seed=0, cameras=3):
    """Eight people, a track of four images in each camera; two share a moment."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(8, 1, 1, 16))
    x = centres + 0.4 * rng.normal(size=(8, cameras, 1, 16))
    x = x + 0.6 * rng.normal(size=(8, cameras, 4, 16))
    pid, camid, _ = np.indices(x.shape[:3])
    records = dict(
        track=(pid * cameras + camid).ravel(),
        camid=camid.ravel(),
        sequence=np.zeros(pid.size, int),
        frame=np.tile(np.arange(4), 8 * cameras) + 100 * (pid // 2).ravel(),
    )
    return x.reshape(-1, 16).astype(np.float32), records, pid.ravel()


def test_images_of_a_track_have_one_label_and_neighbours_in_time_two():
    x, records, _ = people()
    order = np.random.default_rng(1).permutation(len(x))
    x, records = x[order], {name: column[order] for name, column in records.items()}
    inner = DBSCANClusterer(eps=0.6, min_samples=2, k1=6, k2=2)
    labels = TrackClusterer(inner)(x, records)
    assert labels.max() > 1
    for track in set(records['track'].tolist()):
        assert len(set(labels[records['track'] == track].tolist())) == 1
    for a in range(len(x)):
        for b in range(a):
            same_moment = records['camid'][a] == records['camid'][b]
            same_moment &= records['frame'][a] // 100 == records['frame'][b] // 100
            if same_moment and records['track'][a] != records['track'][b]:
                assert labels[a] != labels[b] or labels[a] < 0
    again = TrackClusterer(
        dict(type='DBSCANClusterer', eps=0.6, min_samples=2, k1=6, k2=2)
    )
    np.testing.assert_array_equal(again(x, records), labels)


def test_means_are_clustered_as_they_are():
    x, records, _ = people(seed=4)
    inner = DBSCANClusterer(eps=0.5, min_samples=2, k1=5, k2=2)
    wrapped = TrackClusterer(inner, cannot_link=False)
    labels = wrapped(x, records)
    means = []
    for track in range(24):
        rows = x[records['track'] == track]
        rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        means.append(rows.sum(axis=0))
    means = np.array(means) / np.linalg.norm(means, axis=1, keepdims=True)
    alone = DBSCANClusterer(eps=0.5, min_samples=2, k1=5, k2=2)(means)
    np.testing.assert_array_equal(labels, alone[records['track']])
    outcome = Labeller(wrapped)(torch.from_numpy(x), records)
    graph = k_reciprocal_jaccard(means, 5, 2, 0.5)
    assert outcome.silhouette == pytest.approx(graph_silhouette(graph, alone))


def test_a_long_track_alone_may_be_a_cluster():
    x, records, _ = people(seed=2)
    inner = DBSCANClusterer(eps=0.1, min_samples=2, k1=5, k2=2)
    assert (TrackClusterer(inner)(x, records) < 0).any()
    labels = TrackClusterer(inner, min_single=4)(x, records)
    assert labels.min() == 0
    assert (TrackClusterer(inner, min_single=5)(x, records) < 0).any()


def test_what_does_not_fit_is_refused():
    x, records, _ = people()
    clusterer = TrackClusterer(dict(type='DBSCANClusterer'))
    for none in (None, {**records, 'track': np.full(len(x), -1)}):
        with pytest.raises(ValueError, match='needs tracks, and the images have none'):
            clusterer(x, none)
    with pytest.raises(TypeError, match='such as DBSCANClusterer, got KMeans'):
        TrackClusterer(KMeansClusterer(3))
    x[3] = 0
    with pytest.raises(ValueError, match='3'):
        clusterer(x, records)


def test_advice_counts_tracks():
    x, records, _ = people()
    clusterer = TrackClusterer(DBSCANClusterer(eps=0.01, min_samples=2))
    labels = clusterer(x, records)
    assert labels.max() < 0
    text = collapse(labels, clusterer)
    assert 'Raise eps' in text and 'k1=4' in text  # of 24 tracks
