# SPDX-License-Identifier: Apache-2.0
import json
from itertools import combinations

import numpy as np
import pytest

from mmreid_gcl.evaluation.calibration import (
    Calibration,
    calibrate,
    probability_map,
    searches,
    similarity_pairs,
    threshold_at,
)


def make_crops(people=30, images=6, noise=1.0, seed=0, width=16):
    rng = np.random.default_rng(seed)
    who = np.repeat(np.arange(people), images)
    features = rng.normal(size=(people, width))[who]
    features = features + noise * rng.normal(size=features.shape)
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    order = rng.permutation(len(who))
    cameras = np.array(['a', 'b', 'c'])[rng.integers(3, size=len(who))]
    return features.astype(np.float32)[order], who[order], cameras


def plain_pairs(features, people, cameras):
    """(similarity, same, across) of every pair of known people."""
    known = [i for i, person in enumerate(people) if person >= 0]
    return sorted(
        (
            round(float(features[i] @ features[j]), 5),
            bool(people[i] == people[j]),
            bool(cameras[i] != cameras[j]),
        )
        for i, j in combinations(known, 2)
    )


def listed(pairs):
    values = pairs.similarity.tolist(), pairs.same.tolist(), pairs.across.tolist()
    return sorted((round(a, 5), b, c) for a, b, c in zip(*values))


def test_all_pairs():
    features, people, cameras = make_crops(7, 5)
    people[[2, 9]] = -1
    pairs = similarity_pairs(features, people, cameras)
    expected = plain_pairs(features, people, cameras)
    assert [pair[1:] for pair in listed(pairs)] == [pair[1:] for pair in expected]
    found = np.array([pair[0] for pair in listed(pairs)])
    assert np.allclose(found, [pair[0] for pair in expected], atol=2e-5)
    assert ((pairs.people[:, 0] == pairs.people[:, 1]) == pairs.same).all()
    across, within = pairs.select('across'), pairs.select('within')
    assert across.across.all() and not within.across.any()
    assert len(across.same) + len(within.same) == len(pairs.same)
    assert listed(pairs.select('all')) == listed(pairs)


def test_drawn_pairs():
    """All of them real ones, of either kind as many as asked for, evenly drawn."""
    features, people, cameras = make_crops(10, 12, seed=1)
    cameras = np.zeros(len(people), int)
    pairs = similarity_pairs(features, people, cameras, max_pairs=400)
    assert pairs.same.sum() == 400 == (~pairs.same).sum()
    possible = {
        (round(float(a @ b), 4), people[i] == people[j])
        for i, a in enumerate(features)
        for j, b in enumerate(features)
        if i != j
    }
    for similarity, same in zip(pairs.similarity, pairs.same):
        near = [(round(float(similarity) + d, 4), same) for d in (-1e-4, 0, 1e-4)]
        assert possible & set(near)
    counts = np.bincount(pairs.people[pairs.same][:, 0], minlength=10)
    assert counts.min() > 15  # 40 expected


def test_searches():
    """Against plain loops: best of others and best of the own images."""
    features, people, cameras = make_crops(6, 4, seed=3)
    people[5] = -1
    for among in ('across', 'within', 'all'):
        found = searches(features, people, cameras, among)
        expected = []
        for i in range(len(people)):
            others, own = [], []
            for j in range(len(people)):
                if people[i] < 0 or people[j] < 0 or i == j:
                    continue
                one, apart = people[i] == people[j], cameras[i] != cameras[j]
                if among == 'within' and apart:
                    continue
                if among == 'across' and one and not apart:
                    continue
                (own if one else others).append(float(features[i] @ features[j]))
            if others:
                expected.append((max(others), max(own, default=np.nan)))
        alarm, hit = np.array(expected).T
        assert np.allclose(found.alarm, alarm, atol=1e-6)
        assert np.allclose(found.hit, hit, atol=1e-6, equal_nan=True)


@pytest.mark.parametrize('among', ['across', 'within', 'all'])
@pytest.mark.parametrize('rate', [0.05, 0.2])
@pytest.mark.parametrize('seed', range(3))
def test_a_plain_search_for_somebody_who_is_not_there(among, rate, seed):
    """Of all cameras, as users do it: somebody is named at the rate, or below it.

    Images of one camera look more alike than those of two.
    """
    features, people, cameras = make_crops(20, 6, seed=seed)
    looks = np.random.default_rng(seed).normal(size=(3, features.shape[1]))
    features = features + 0.1 * looks[[ord(c) - ord('a') for c in cameras]]
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    features = features.astype(np.float32)
    people[people == 7] = -1
    result, _ = calibrate(features, people, cameras, rate, among=among, resamples=1)
    named = []
    for i in range(len(people)):
        if people[i] < 0:
            continue
        best = max(
            float(features[i] @ features[j])
            for j in range(len(people))
            if people[j] >= 0 and people[j] != people[i]
        )
        named.append(best > result.threshold + 1e-6)  # rounding of the products
    assert sum(named) <= rate * len(named)
    if among != 'within':  # which only bounds it
        assert sum(named) >= rate * len(named) - 2
    assert result.images == len(named) == 114


def test_the_threshold_is_the_lowest_that_keeps_the_rate():
    rng = np.random.default_rng(0)
    for count in (7, 100):
        values = np.sort(np.round(rng.random(count), 1))[::-1]  # with ties
        weights = rng.integers(0, 4, count).astype(float)
        for rate in (0.01, 0.1, 0.29, 0.5, 0.99):
            threshold = threshold_at(values, rate, weights)
            total = weights.sum()
            assert weights[values >= threshold].sum() <= rate * total + 1e-9
            lower = values[values < threshold].max()
            assert weights[values >= lower].sum() > rate * total


@pytest.mark.parametrize('over', ['search', 'pair'])
@pytest.mark.parametrize('among', ['across', 'within', 'all'])
def test_calibrate(over, among):
    features, people, cameras = make_crops(30, 6)
    result, pairs = calibrate(
        features, people, cameras, 0.05, over, among, resamples=100, model_hash='f00d'
    )
    if over == 'pair':
        rows = [
            row
            for row in plain_pairs(features, people, cameras)
            if among == 'all' or row[2] == (among == 'across')
        ]
        false = [row[0] >= result.threshold for row in rows if not row[1]]
        true = [row[0] >= result.threshold for row in rows if row[1]]
    else:
        found = searches(features, people, cameras, among)
        false = found.alarm >= result.threshold
        there = ~np.isnan(found.hit)
        true = (found.hit > found.alarm) & (found.hit >= result.threshold)
        true = true[there]
    # just below the rate, and not far below it; each of three cameras has its share
    share = 0.05 / 3 if (over, among) == ('search', 'within') else 0.05
    assert share - 2 / len(false) <= np.mean(false) <= share + 1e-3
    assert result.images == 180
    assert result.hits == pytest.approx(np.mean(true), abs=1e-3)
    assert result.interval[0] <= result.threshold <= result.interval[1]
    assert result.interval[0] < result.interval[1]
    assert result.hits_interval[0] <= result.hits <= result.hits_interval[1]
    assert (result.people, result.over, result.cameras) == (30, over, among)
    assert len(pairs.same) == 180 * 179 // 2
    again = json.loads(json.dumps(result.to_dict()))
    assert Calibration.from_dict(again) == result


def test_the_interval_covers_the_truth():
    """Of samples of 20 people each, it holds the threshold of very many mostly."""
    many = make_crops(400, 6, seed=9)
    truth = calibrate(*many, 0.05, 'pair', 'all', resamples=1)[0].threshold
    inside, widths = 0, []
    for seed in range(30):
        crops = make_crops(20, 6, seed=100 + seed)
        low, high = calibrate(*crops, 0.05, 'pair', 'all', resamples=200)[0].interval
        inside += low <= truth <= high
        widths.append(high - low)
    assert inside >= 22
    wide = np.mean(widths)
    low, high = calibrate(*make_crops(200, 6), 0.05, 'pair', 'all', resamples=200)[
        0
    ].interval
    assert high - low < wide / 2


def test_isotonic_probabilities():
    """Pool adjacent violators by hand, and both kinds of equal weight."""
    similarity = np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.6], np.float32)
    same = np.array([False, False, True, False, True, True])
    x, y = probability_map(similarity, same, 'isotonic')
    # 0.3 (1) and 0.4 (0) are out of order: their mean
    assert np.allclose(np.interp(similarity, x, y), [0, 0, 0.5, 0.5, 1, 1])
    x, y = probability_map(similarity, same, 'isotonic', prior=0.1)
    assert np.interp(0.3, x, y) == pytest.approx(0.1, abs=1e-6)


def test_logistic_probabilities():
    rng = np.random.default_rng(0)
    same = np.arange(40_000) % 4 == 0
    # normal, equal variances: the log-odds are exactly linear
    similarity = rng.normal(np.where(same, 0.5, 0.1), 0.2)
    result = calibrate_map(similarity, same, 'logistic')
    for value in (-0.2, 0.1, 0.3, 0.7):
        odds = (0.5 - 0.1) / 0.2**2 * (value - 0.3)
        expected = 1 / (1 + np.exp(-odds))
        assert result.probability([value]) == pytest.approx(expected, abs=0.01)


def calibrate_map(similarity, same, method):
    x, y = probability_map(similarity, same, method)
    numbers = dict.fromkeys(('threshold', 'rate', 'confidence', 'hits', 'prior'), 0.5)
    ends = dict(interval=[0.0, 1.0], hits_interval=[0.0, 1.0], people=2, images=2)
    names = dict(over='pair', cameras='all', method=method)
    return Calibration(**numbers, **ends, **names, x=x, y=y)


@pytest.mark.parametrize(
    'options,message',
    [
        (dict(rate=0), 'rate must be'),
        (dict(rate=1.0), 'rate must be'),
        (dict(over='x'), 'over must be one of'),
        (dict(among='x'), 'among must be one of'),
        (dict(method='x'), 'method must be one of'),
        (dict(resamples=0), 'resamples'),
        (dict(rate=0.001), 'at least 1,000 are needed'),
        (dict(rate=0.01, among='within'), 'at least 300 are needed'),
        (dict(rate=1e-6, over='pair'), 'at least 1,000,000 are needed'),
    ],
)
def test_bad_settings(options, message):
    with pytest.raises(ValueError, match=message):
        calibrate(*make_crops(), **options)


def test_too_little_is_known():
    features, people, cameras = make_crops(4, 3)
    for bad in (np.full(12, -1), np.arange(12), np.zeros(12, int)):
        with pytest.raises(ValueError, match='two people at least'):
            calibrate(features, bad, cameras)
    with pytest.raises(ValueError, match='0 pairs of one person'):
        calibrate(features, people, people)  # a camera each: none across
