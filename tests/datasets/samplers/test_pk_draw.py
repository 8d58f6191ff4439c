# SPDX-License-Identifier: Apache-2.0
from collections import Counter
from itertools import islice

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmreid_gcl.datasets.samplers.pk_draw import draw_clusters, draw_instances


@settings(deadline=None)
@given(
    clusters=st.integers(1, 40),
    per_batch=st.integers(1, 20),
    batches=st.integers(1, 30),
    seed=st.integers(0, 10_000),
)
def test_clusters(clusters, per_batch, batches, seed):
    rng = np.random.default_rng(seed)
    drawn = list(islice(draw_clusters(clusters, per_batch, rng), batches))
    total = Counter()
    for batch in drawn:
        assert batch.shape == (per_batch,)
        counts = Counter(batch.tolist())
        assert set(counts) <= set(range(clusters))
        # distinct; with fewer clusters than P, as even as can be
        assert len(counts) == min(per_batch, clusters)
        assert max(counts.values()) - min(counts.values()) <= 1
        total.update(counts)
        # a permutation is gone through before any cluster has another turn
        everyone = [total[c] for c in range(clusters)]
        assert max(everyone) - min(everyone) <= 1


def test_every_cluster_comes_first_equally_often():
    """The order is drawn anew, and no cluster is favoured."""
    first = Counter()
    for seed in range(1200):
        rng = np.random.default_rng(seed)
        first[int(next(draw_clusters(6, 4, rng))[0])] += 1
    assert sorted(first) == list(range(6))
    assert max(first.values()) < 280 and min(first.values()) > 120  # 200 expected


def test_permutations_differ():
    rng = np.random.default_rng(0)
    rounds = [tuple(b.tolist()) for b in islice(draw_clusters(7, 7, rng), 5)]
    assert len(set(rounds)) == 5


@settings(deadline=None)
@given(size=st.integers(1, 20), count=st.integers(1, 20), seed=st.integers(0, 10_000))
def test_instances(size, count, seed):
    members = 100 + 3 * np.arange(size)
    drawn = draw_instances(members, count, np.random.default_rng(seed))
    assert drawn.shape == (count,)
    assert set(drawn.tolist()) <= set(members.tolist())
    if size >= count:
        assert len(set(drawn.tolist())) == count


def test_small_clusters_are_drawn_with_replacement():
    drawn = Counter()
    for seed in range(200):
        one = draw_instances(np.array([4, 7, 9]), 8, np.random.default_rng(seed))
        drawn[len(set(one.tolist()))] += 1
    assert set(drawn) <= {1, 2, 3} and drawn[2] > 0 and drawn[3] > 0


@settings(deadline=None)
@given(
    camids=st.lists(st.integers(0, 4), min_size=1, max_size=20),
    count=st.integers(1, 12),
    seed=st.integers(0, 10_000),
)
def test_cameras_are_spread(camids, count, seed):
    members = np.arange(len(camids)) + 50
    drawn = draw_instances(
        members, count, np.random.default_rng(seed), np.array(camids)
    )
    assert drawn.shape == (count,) and set(drawn.tolist()) <= set(members.tolist())
    if len(camids) < count:
        return
    assert len(set(drawn.tolist())) == count
    taken = Counter(camids[i - 50] for i in drawn.tolist())
    available = Counter(camids)
    assert len(taken) == min(count, len(available))
    # round after round: a camera is behind another only if it has no more
    for camera, number in available.items():
        if taken[camera] < max(taken.values()) - 1:
            assert taken[camera] == number


@settings(deadline=None)
@given(
    images=st.lists(
        st.tuples(st.integers(0, 2), st.integers(-1, 3)), min_size=1, max_size=20
    ),
    count=st.integers(1, 12),
    with_cameras=st.booleans(),
    seed=st.integers(0, 10_000),
)
def test_tracks_are_spread(images, count, with_cameras, seed):
    camids = np.array([camid for camid, _ in images])
    # as in a data set, a track is of one camera
    tracks = np.array([t if t < 0 else 10 * camid + t for camid, t in images])
    members = np.arange(len(images)) + 50
    rng = np.random.default_rng(seed)
    given_camids = camids if with_cameras else None
    drawn = draw_instances(members, count, rng, given_camids, tracks)
    assert drawn.shape == (count,) and set(drawn.tolist()) <= set(members.tolist())
    if len(images) < count:
        return
    assert len(set(drawn.tolist())) == count
    chosen = [i - 50 for i in drawn.tolist()]
    unknown = sum(t < 0 for t in tracks[chosen])
    taken = Counter(int(t) for t in tracks[chosen] if t >= 0)
    available = Counter(int(t) for t in tracks if t >= 0)
    alone = int((tracks < 0).sum())  # each like a track of its own
    assert len(taken) + unknown == min(count, len(available) + alone)
    for track, number in available.items():
        if taken[track] < max(taken.values(), default=0) - 1:
            assert taken[track] == number
    if with_cameras and count <= len(available) + alone:
        # of different tracks, as many cameras as there are
        assert len({*camids[chosen].tolist()}) == min(count, len({*camids.tolist()}))


@pytest.mark.parametrize('tracks', [None, np.array([7, 7, 3, 3, 4, -1])])
@pytest.mark.parametrize('camids', [None, np.array([0, 0, 1, 1, 1, 2])])
def test_all_images_have_their_turn(camids, tracks):
    members = np.arange(6)
    seen = set()
    for seed in range(60):
        rng = np.random.default_rng(seed)
        seen.update(draw_instances(members, 3, rng, camids, tracks).tolist())
    assert seen == set(range(6))
