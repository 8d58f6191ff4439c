# SPDX-License-Identifier: Apache-2.0
from collections import Counter

import mmengine.dist
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmreid_gcl.datasets import PKSampler, SampleIndex
from mmreid_gcl.registry import DATA_SAMPLERS

P, K = 4, 3


class Images:
    """As much of a data set as a sampler wants."""

    def __init__(self, count, camids=None, tracks=None):
        self.count = count
        self.columns = dict(camid=camids, track=tracks)

    def __len__(self):
        return self.count

    def column(self, name):
        return np.array(self.columns[name])


class Labelled(Images):
    def get_gt_labels(self):
        return np.arange(self.count) % 5


def some_labels(count=60, clusters=10, seed=0):
    """Every cluster has images, some images have no cluster."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(-1, clusters, count)
    labels[rng.permutation(count)[:clusters]] = np.arange(clusters)
    return labels


def make(labels, seed=7, **kwargs):
    kwargs = dict(num_identities=P, num_instances=K, num_batches=9) | kwargs
    sampler = PKSampler(Images(len(labels)), seed=seed, **kwargs)
    sampler.set_labels(labels)
    return sampler


def batches(sampler):
    drawn = list(sampler)
    size = sampler.batch_size
    assert len(drawn) % size == 0
    return [drawn[i : i + size] for i in range(0, len(drawn), size)]


def triples(indices):
    return [(int(i), i.label, i.seed) for i in indices]


def test_batches():
    labels = some_labels()
    turns = Counter()
    drawn = batches(make(labels))
    assert len(drawn) == 9
    for batch in drawn:
        assert all(type(i) is SampleIndex for i in batch)
        assert [i.label for i in batch] == labels[batch].tolist()
        clusters = [i.label for i in batch[::K]]
        assert len(set(clusters)) == P and min(clusters) >= 0
        assert [i.label for i in batch] == np.repeat(clusters, K).tolist()
        for at in range(0, P * K, K):
            images = [int(i) for i in batch[at : at + K]]
            size = int((labels == batch[at].label).sum())
            assert len(set(images)) == K or size < K
        turns.update(clusters)
        counts = [turns[c] for c in range(10)]
        assert max(counts) - min(counts) <= 1  # each permutation covers all


def test_seeds_are_all_different():
    sampler = make(some_labels(), num_batches=50)
    seeds = [i.seed for i in sampler]
    sampler.set_epoch(1)
    seeds += [i.seed for i in sampler]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= s < 2**63 for s in seeds)


@pytest.mark.parametrize('clusters', [1, 2, 3])
def test_fewer_clusters_than_identities(clusters):
    labels = np.arange(30) % clusters
    for batch in batches(make(labels)):
        counts = Counter(i.label for i in batch)
        assert len(counts) == clusters
        assert max(counts.values()) - min(counts.values()) <= K


def test_clusters_smaller_than_instances():
    labels = np.array([0, 1, 1, 2, 2, 2, 3, 3, 3, 3, -1])
    for batch in batches(make(labels, num_identities=4, num_instances=3)):
        for at in range(0, 12, 3):
            images = {int(i) for i in batch[at : at + 3]}
            size = int((labels == batch[at].label).sum())
            assert len(images) == 3 if size >= 3 else len(images) <= size


def test_outliers_are_never_drawn():
    labels = np.full(40, -1)
    labels[[3, 8, 31]] = 0, 0, 1
    drawn = {int(i) for i in make(labels, num_batches=30)}
    assert drawn == {3, 8, 31}


@settings(deadline=None)
@given(
    data=st.data(),
    identities=st.integers(1, 6),
    instances=st.integers(1, 6),
    spread=st.booleans(),
)
def test_property(data, identities, instances, spread):
    sizes = data.draw(st.lists(st.integers(1, 7), min_size=1, max_size=12))
    labels = np.repeat(np.arange(len(sizes)), sizes)
    labels = np.concatenate([labels, np.full(data.draw(st.integers(0, 9)), -1)])
    rng = np.random.default_rng(data.draw(st.integers(0, 100)))
    rng.shuffle(labels)
    images = Images(len(labels), rng.integers(0, 3, len(labels)))
    sampler = PKSampler(
        images, identities, instances, num_batches=5, spread_cameras=spread, seed=1
    )
    sampler.set_labels(labels)
    assert len(sampler) == 5 * identities * instances == len(list(sampler))
    for batch in batches(sampler):
        assert (labels[batch] >= 0).all()
        clusters = [i.label for i in batch[::instances]]
        assert len(set(clusters)) == min(identities, len(sizes))
        for at, cluster in enumerate(clusters):
            group = batch[at * instances : (at + 1) * instances]
            assert (labels[group] == cluster).all()
            if sizes[cluster] >= instances:
                assert len(set(map(int, group))) == instances


def test_the_same_draws_again():
    labels = some_labels()
    one, two = make(labels), make(labels)
    for epoch in (0, 1, 5):
        one.set_epoch(epoch), two.set_epoch(epoch)
        assert triples(one) == triples(two) == triples(one)


def test_other_epochs_and_seeds_draw_other_images():
    labels = some_labels()
    draws = []
    for seed in (0, 7):
        for epoch in (0, 1, 2):
            sampler = make(labels, seed=seed)
            sampler.set_epoch(epoch)
            draws.append(tuple(triples(sampler)))
    assert len(set(draws)) == len(draws)
    assert len({tuple(i for i, _, _ in draw) for draw in draws}) == len(draws)


@pytest.mark.parametrize('world_size', [2, 4])
@pytest.mark.parametrize('skip', [0, 4])
def test_ranks_share_a_batch(monkeypatch, world_size, skip):
    labels = some_labels()

    def start(**kwargs):
        sampler = make(labels, **kwargs)
        sampler.set_epoch(3)
        sampler.skip_batches = skip
        return sampler

    whole = batches(start())
    parts = []
    for rank in range(world_size):
        with monkeypatch.context() as patch:
            patch.setattr(
                mmengine.dist, 'get_dist_info', lambda r=rank: (r, world_size)
            )
            sampler = start()
        assert sampler.batch_size == P * K // world_size
        assert len(sampler) == 9 * P * K // world_size
        parts.append(batches(sampler))
    for batch, *of_ranks in zip(whole, *parts, strict=True):
        joined = [index for part in of_ranks for index in part]
        assert triples(joined) == triples(batch)


def test_a_batch_that_cannot_be_shared(monkeypatch):
    monkeypatch.setattr(mmengine.dist, 'get_dist_info', lambda: (0, 5))
    with pytest.raises(ValueError, match=r'4 x 3 = 12 images .* 5 processes'):
        make(some_labels())


def test_seed_that_the_processes_agree_on(monkeypatch):
    monkeypatch.setattr(mmengine.dist, 'sync_random_seed', lambda: 1234)
    assert PKSampler(Images(9), 1, 1).seed == 1234
    assert PKSampler(Images(9), 1, 1, seed=0).seed == 0


def test_cameras():
    """Two images of each of two cameras, however unequal the cameras are."""
    labels = np.repeat([0, 1, 2], 10)
    camids = np.tile([0] * 8 + [1, 2], 3)
    images = Images(30, camids)
    sampler = PKSampler(images, 3, 3, 20, spread_cameras=True, seed=0)
    sampler.set_labels(labels)
    for batch in batches(sampler):
        for at in range(0, 9, 3):
            assert sorted(camids[batch[at : at + 3]]) == [0, 1, 2]
    sampler.spread_cameras = False
    spread = {len(set(camids[batch[:3]])) for batch in batches(sampler)}
    assert 1 in spread


def test_tracks_are_spread(log_lines):
    labels = np.repeat([0, 1, 2], 10)
    tracks = np.repeat(np.arange(9), [6, 2, 2] * 3)  # three a cluster
    images = Images(30, np.zeros(30, int), tracks)
    for cameras in (False, True):
        sampler = PKSampler(
            images, 3, 3, 20, spread_cameras=cameras, spread_tracks=True, seed=0
        )
        sampler.set_labels(labels)
        for batch in batches(sampler):
            for at in range(0, 9, 3):
                assert len(set(tracks[batch[at : at + 3]])) == 3
    whole = triples(sampler)
    sampler.skip_batches = 7  # resumed inside the epoch
    assert triples(sampler) == whole[7 * 9 :]
    sampler.skip_batches, sampler.spread_tracks = 0, False
    assert {len(set(tracks[batch[:3]])) for batch in batches(sampler)} > {3}
    assert not log_lines


def test_spread_tracks_where_no_image_has_one(log_lines):
    labels = some_labels()
    images = Images(len(labels), tracks=np.full(len(labels), -1))
    options = dict(num_identities=P, num_instances=K, num_batches=9, seed=7)
    sampler = PKSampler(images, spread_tracks=True, **options)
    ((level, line),) = log_lines
    assert level == 'WARNING' and 'no image has a track' in line
    sampler.set_labels(labels)
    assert triples(sampler) == triples(make(labels))
    with pytest.raises(TypeError, match=r'spread_tracks needs a data set .* tracks'):
        PKSampler(range(8), 2, 2, spread_tracks=True, seed=0)


@pytest.mark.parametrize(
    'count,expected', [(128, 1), (255, 1), (256, 2), (5, 1), (12936, 101)]
)
def test_default_number_of_batches(count, expected):
    assert PKSampler(Images(count), seed=0).num_batches == expected


def test_length_is_known_before_the_labels():
    sampler = PKSampler(Images(1000), 4, 2, num_batches=6, seed=0)
    assert len(sampler) == 48
    with pytest.raises(RuntimeError, match=r'no labels.*PseudoLabelHook.*set_labels'):
        next(iter(sampler))


def test_labels_of_the_data_set():
    sampler = PKSampler(Labelled(40), 5, 2, seed=0)
    assert sampler.num_batches == 4
    assert all(index.label == index % 5 for index in sampler)
    sampler.set_labels(np.zeros(40, int))
    assert {index.label for index in sampler} == {0}


def test_new_labels_take_effect_in_the_next_epoch():
    sampler = make(some_labels(seed=0))
    list(sampler)
    labels = some_labels(clusters=6, seed=1)
    sampler.set_labels(labels.tolist())
    sampler.set_epoch(1)
    assert all(index.label == labels[index] for index in sampler)


@pytest.mark.parametrize('skip', [0, 1, 5, 9])
def test_resume_inside_an_epoch(skip):
    labels = some_labels()
    sampler = make(labels)
    sampler.set_epoch(2)
    whole = batches(sampler)
    sampler.skip_batches = skip
    rest = batches(sampler) if skip < 9 else list(sampler)
    assert [triples(b) for b in rest] == [triples(b) for b in whole[skip:]]


@pytest.mark.parametrize(
    'labels,message',
    [
        ([0] * 7, r'8 images need as many labels, got shape \(7,\)'),
        ([[0] * 8], r'got shape \(1, 8\)'),
        ([-1] * 8, 'every label is -1'),
    ],
)
def test_labels_that_do_not_fit(labels, message):
    with pytest.raises(ValueError, match=message):
        PKSampler(Images(8), 2, 2, seed=0).set_labels(labels)


@pytest.mark.parametrize('name', ['num_identities', 'num_instances', 'num_batches'])
@pytest.mark.parametrize('value', [0, -2])
def test_arguments_out_of_range(name, value):
    with pytest.raises(ValueError, match=f'{name} must be at least 1, got {value}'):
        PKSampler(Images(8), **{name: value})


@pytest.mark.parametrize('name', ['num_identities', 'num_instances', 'num_batches'])
@pytest.mark.parametrize('value', ['abc', 2.0, True])
def test_arguments_that_are_no_counts(name, value):
    with pytest.raises(ValueError, match=f'{name} must be a whole number, got '):
        PKSampler(Images(8), **{name: value})


def test_built_as_the_runner_builds_it():
    cfg = dict(type='PKSampler', num_identities=2, num_instances=2)
    sampler = DATA_SAMPLERS.build(cfg, default_args=dict(dataset=Images(8), seed=3))
    assert (sampler.seed, sampler.num_batches) == (3, 2)


def test_cameras_of_a_data_set_that_has_none():
    with pytest.raises(TypeError, match=r'spread_cameras .* this is a range'):
        PKSampler(range(8), 2, 2, spread_cameras=True, seed=0)


def test_the_seed_of_the_run_wins_and_is_said(log_lines):
    sampler = make(some_labels(), seed=7)
    sampler.seed = 7
    assert not log_lines
    before = triples(sampler)
    sampler.seed = 8
    ((level, line),) = log_lines
    assert level == 'INFO' and 'seed 7 gives way to 8' in line
    assert triples(sampler) == triples(make(some_labels(), seed=8)) != before


def test_length_is_that_of_a_whole_epoch():
    sampler = make(some_labels())
    whole = triples(sampler)
    sampler.skip_batches = 4
    assert len(sampler) == len(whole) == 9 * P * K
    assert triples(sampler) == whole[4 * P * K :]


def test_outliers_can_be_classes_of_their_own():
    labels = np.array([0, -1, 1, 0, -1, 1, 1, 0])
    sampler = make(labels, outliers='own_class', num_identities=2, num_batches=8)
    drawn = list(sampler)  # 8 batches of 2 * K
    assert len(drawn) == 8 * 2 * K
    own = {int(index): index.label for index in drawn if labels[index] < 0}
    assert own == {1: 2, 4: 3}
    # classes in turn: K images of a cluster, one of an outlier
    while drawn:
        label = drawn[0].label
        count = 1 if label > 1 else min(K, len(drawn))
        assert [index.label for index in drawn[:count]] == [label] * count
        del drawn[:count]
    dropped = {int(index) for index in make(labels, num_identities=2)}
    assert not dropped & {1, 4}


class People(Images):
    def __init__(self, pids):
        super().__init__(len(pids))
        self.pids = pids

    def column(self, name):
        assert name == 'pid'
        return np.array(self.pids)


def test_identities_can_be_the_labels():
    pids = [7, -1, 3, 7, 12, 3, 12, -1, 12]
    options = dict(num_identities=2, num_instances=2, num_batches=20, seed=1)
    sampler = PKSampler(People(pids), labels='pid', **options)
    drawn = list(sampler)
    assert {index.label for index in drawn} == {0, 1, 2}
    for index in drawn:
        assert index.label == {3: 0, 7: 1, 12: 2}[pids[index]]
    with pytest.raises(TypeError, match=r"labels='pid'.*identities"):
        PKSampler(list(range(4)), labels='pid', **options)


@pytest.mark.parametrize('wrong', [dict(outliers='keep'), dict(labels='gt')])
def test_unknown_policies(wrong):
    (name,) = wrong
    with pytest.raises(ValueError, match=f'{name} must be one of'):
        PKSampler(Images(9), num_identities=3, num_instances=3, **wrong)
