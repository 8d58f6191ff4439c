# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from mmreid_gcl.evaluation import rank_from_similarity
from mmreid_gcl.evaluation.ranking import top_gallery


def test_by_hand():
    #                       0    1    2    3    4    5
    similarity = np.array([0.9, 0.8, 0.8, 0.7, 0.6, 0.5])
    pids = np.array([7, 3, 7, -1, 0, 7])
    cams = np.array([1, 1, 2, 2, 2, 3])
    got = top_gallery(similarity, 7, 1, pids, cams, topk=3)
    # 0 has the query's camera, 3 is junk
    assert got.indices.tolist() == [1, 2, 4]
    assert got.scores.tolist() == [0.8, 0.8, 0.6]
    assert got.matches.tolist() == [False, True, False]
    assert got.ap == pytest.approx((1 / 2 + 2 / 4) / 2)


def test_unknown_identities_ignore_nothing():
    similarity = np.array([0.1, 0.3, 0.2])
    for kwargs in ({}, dict(pid=-1, gallery_pids=np.array([-1, 2, 3]))):
        got = top_gallery(similarity, topk=2, **kwargs)
        assert got.indices.tolist() == [1, 2]
        assert got.matches is None and got.ap is None


def test_without_a_match_there_is_no_ap():
    got = top_gallery(np.array([0.1]), 7, 1, np.array([7]), np.array([1]))
    assert got.indices.tolist() == [] and got.ap is None
    got = top_gallery(np.array([0.1]), 7, 1, np.array([8]), np.array([1]))
    assert got.matches.tolist() == [False] and got.ap is None


def test_mean_ap_is_that_of_the_evaluation():
    rng = np.random.default_rng(0)
    # few values: many ties
    similarity = rng.integers(0, 6, (12, 40)).astype(np.float32)
    query, gallery = rng.integers(0, 5, 12), rng.integers(-1, 5, 40)
    query_cams, cams = rng.integers(0, 3, 12), rng.integers(0, 3, 40)
    aps = [
        top_gallery(row, p, c, gallery, cams).ap
        for row, p, c in zip(similarity, query, query_cams)
    ]
    known = [ap for ap in aps if ap is not None]
    expected = rank_from_similarity(similarity, query, query_cams, gallery, cams)
    assert 100 * np.mean(known) == pytest.approx(expected['mAP'])


def test_bad_input_is_named():
    with pytest.raises(ValueError, match='gallery_pids'):
        top_gallery(np.ones(3), 1, 1, np.ones(2), np.ones(3))
    with pytest.raises(ValueError, match='NaN'):
        top_gallery(np.array([np.nan]))
    with pytest.raises(ValueError, match=r'\(1, 1\)'):
        top_gallery(np.ones((1, 1)))
