# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from mmreid_gcl.evaluation import evaluate_ranking, rank_from_similarity
from mmreid_gcl.evaluation.counting import _count_by_torch, match_ranks
from mmreid_gcl.evaluation.ground_truth import IdentityIndex

from .reference import (
    exact_units,
    random_problem,
    reference_cosine,
    reference_ranking,
)


def close(result, expected, tolerance=1e-9):
    assert result.keys() == expected.keys()
    for name in expected:
        assert result[name] == pytest.approx(expected[name], abs=tolerance), name


def expected_of(problem, topk=(1, 5, 10)):
    query, query_pids, query_camids, gallery, gallery_pids, gallery_camids = problem
    return reference_ranking(
        reference_cosine(query, gallery),
        query_pids,
        query_camids,
        gallery_pids,
        gallery_camids,
        topk,
    )


def line(*cosines):
    """Unit vectors in the plane with these cosines to (1, 0)."""
    cosines = np.array(cosines)
    return np.stack([cosines, np.sqrt(1 - cosines**2)], axis=1)


QUERY = np.array([[1.0, 0.0]])


def test_by_hand():
    # Ranked: wrong, right, wrong, right. Precisions 1/2 and 2/4.
    result = evaluate_ranking(
        QUERY, [7], [0], line(0.1, 0.9, 0.5, 0.3), [7, 3, 7, 4], [1, 1, 2, 1]
    )
    close(result, {'mAP': 50, 'mINP': 50, 'R1': 0, 'R5': 100, 'R10': 100})
    assert all(type(value) is float for value in result.values())


def test_same_camera_is_ignored():
    # The best image is of the query's own camera; without it the match leads.
    result = evaluate_ranking(
        QUERY, [7], [0], line(0.9, 0.8, 0.7), [7, 7, 3], [0, 1, 0]
    )
    close(result, {'mAP': 100, 'mINP': 100, 'R1': 100, 'R5': 100, 'R10': 100})


def test_distractors_stay_and_junk_goes():
    gallery = line(0.9, 0.8, 0.7)
    distractor = evaluate_ranking(QUERY, [7], [0], gallery, [0, 0, 7], [1, 1, 1])
    assert distractor['mAP'] == pytest.approx(100 / 3)
    junk = evaluate_ranking(QUERY, [7], [0], gallery, [-1, 0, 7], [1, 1, 1])
    assert junk['mAP'] == pytest.approx(50)


def test_pid_zero_is_an_identity():
    result = evaluate_ranking(QUERY, [0], [0], line(0.9, 0.8), [0, 1], [1, 1])
    assert result['mAP'] == 100


def test_queries_without_a_match_are_left_out_and_logged(caplog, monkeypatch):
    messages = []
    monkeypatch.setattr(
        'mmreid_gcl.evaluation.ranking.print_log',
        lambda message, **_: messages.append(message),
    )
    # Found; own camera only; unknown identity; junk.
    query = np.repeat(QUERY, 4, axis=0)
    result = evaluate_ranking(
        query, [7, 8, 9, -1], [0, 1, 0, 0], line(0.9, 0.8, 0.7), [3, 7, 8], [1, 1, 1]
    )
    assert result['mAP'] == 50
    assert messages == [
        '3 of 4 queries are left out of the ranking: 2 without a valid match, '
        '1 junk (pid -1).'
    ]
    messages.clear()
    evaluate_ranking(query[:1], [7], [0], line(0.9), [7], [1])
    assert not messages


@pytest.mark.parametrize(
    ('gallery_pids', 'query_pid'), [([7, 7], 7), ([1, 2], 7), ([-1, -1], -1)]
)
def test_no_query_with_a_match(gallery_pids, query_pid):
    with pytest.raises(ValueError, match='None of the 1 queries has a match'):
        evaluate_ranking(QUERY, [query_pid], [0], line(0.9, 0.8), gallery_pids, [0, 0])


def test_one_camera_only():
    rng = np.random.default_rng(0)
    features, pids, cams = exact_units(rng, 8), np.arange(8) // 2, np.zeros(8, int)
    with pytest.raises(ValueError, match='another camid'):
        evaluate_ranking(features, pids, cams, features, pids, cams)


def test_ties_go_by_gallery_index():
    same = np.ones((4, 3))
    # Ranks of the matches: 2 and 4, and with the wrong ones first or last.
    for gallery_pids, expected in [
        ([1, 7, 1, 7], (1 / 2 + 2 / 4) / 2),
        ([7, 7, 1, 1], 1.0),
        ([1, 1, 7, 7], (1 / 3 + 2 / 4) / 2),
    ]:
        result = evaluate_ranking(same[:1], [7], [0], same, gallery_pids, [1] * 4)
        assert result['mAP'] == pytest.approx(100 * expected)


def test_ignored_images_tied_with_a_match():
    same = np.ones((5, 2))
    # Own camera before and after the match, junk before it: rank 2 of 2.
    result = evaluate_ranking(
        same[:1], [7], [0], same, [7, -1, 1, 7, 7], [0, 1, 1, 1, 0]
    )
    assert result['mAP'] == pytest.approx(50)


@pytest.mark.parametrize('constant', [True, False])
def test_collapsed_embedding_scores_chance(constant):
    """One point for everything must not look better than noise."""
    rng = np.random.default_rng(1)
    num = 400
    pids, cams = rng.integers(0, 20, (2, num)), rng.integers(0, 4, (2, num))
    if constant:
        vector = rng.standard_normal(37).astype(np.float32)
        query = gallery = np.tile(vector, (num, 1))
    else:
        query, gallery = rng.standard_normal((2, num, 37)).astype(np.float32)
    result = evaluate_ranking(query, pids[0], cams[0], gallery, pids[1], cams[1])
    # 20 identities: a match at every 20th place.
    assert 4 < result['mAP'] < 9
    assert 1 < result['R1'] < 12


def test_constant_embedding_equals_the_reference():
    rng = np.random.default_rng(2)
    problem = list(random_problem(rng, 30, 80))
    problem[0] = np.tile(problem[0][:1], (30, 1))
    problem[3] = np.tile(problem[0][:1], (80, 1))
    close(evaluate_ranking(*problem), expected_of(problem))


def test_topk_beyond_the_gallery():
    result = evaluate_ranking(
        QUERY, [7], [0], line(0.9, 0.8), [1, 7], [1, 1], topk=(1, 2, 500)
    )
    assert (result['R1'], result['R2'], result['R500']) == (0, 100, 100)
    assert set(result) == {'mAP', 'mINP', 'R1', 'R2', 'R500'}


@pytest.mark.parametrize('topk', [(0,), (-1, 5), (1.5,)])
def test_bad_topk(topk):
    with pytest.raises(ValueError, match='topk'):
        evaluate_ranking(QUERY, [7], [0], line(0.9), [7], [1], topk=topk)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    queries=st.integers(1, 12),
    gallery=st.integers(1, 40),
    pids=st.integers(1, 6),
    cams=st.integers(1, 4),
    chunk=st.integers(1, 13),
    channels=st.integers(4, 7),
    double=st.booleans(),
)
def test_property_against_the_reference(
    seed, queries, gallery, pids, cams, chunk, channels, double
):
    rng = np.random.default_rng(seed)
    problem = list(random_problem(rng, queries, gallery, pids, cams, 0.15, channels))
    try:
        expected = expected_of(problem)
    except ZeroDivisionError:
        with pytest.raises(ValueError, match='has a match'):
            evaluate_ranking(*problem)
        return
    dtype = np.float64 if double else np.float32
    # Lengths that are powers of two keep the arithmetic exact.
    scale = 2.0 ** rng.integers(-9, 9, (gallery, 1))
    problem[0], problem[3] = (
        problem[0].astype(dtype),
        (problem[3] * scale).astype(dtype),
    )
    close(evaluate_ranking(*problem, chunk_size=chunk), expected)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    levels=st.integers(1, 5),
    queries=st.integers(1, 9),
    gallery=st.integers(1, 60),
    dtype=st.sampled_from([np.float16, np.float32, np.float64, np.int64]),
)
def test_property_of_the_kernels(seed, levels, queries, gallery, dtype):
    """Given similarities: numba, torch and the loops must agree exactly."""
    rng = np.random.default_rng(seed)
    _, query_pids, query_camids, _, gallery_pids, gallery_camids = random_problem(
        rng, queries, gallery, pids=3, cams=3, junk=0
    )
    similarity = rng.integers(0, levels, (queries, gallery)).astype(dtype)
    index = IdentityIndex(gallery_pids, gallery_camids)
    bounds = index.bounds(query_pids, query_camids)
    by_numba = match_ranks(similarity, index.order, bounds)
    by_torch = _count_by_torch(torch.from_numpy(similarity), index.order, bounds)

    expected = []
    for q in range(queries):
        same = gallery_pids == query_pids[q]
        own = same & (gallery_camids == query_camids[q])
        ranks = []
        for m in np.flatnonzero(same & ~own):
            before = [
                g
                for g in np.flatnonzero(~own)
                if similarity[q, g] > similarity[q, m]
                or (similarity[q, g] == similarity[q, m] and g < m)
            ]
            ranks.append(len(before) + 1)
        expected.append(sorted(ranks))
    matches = [len(ranks) for ranks in expected]
    assume(sum(matches))
    for ranks in (by_numba, by_torch):
        parts = np.split(ranks, np.cumsum(matches)[:-1])
        assert [sorted(part.tolist()) for part in parts] == expected


@pytest.mark.parametrize('shape', [(40, 301, 17), (70, 90, 1), (3, 1000, 130)])
@pytest.mark.parametrize('dtype', [np.float32, np.float64])
def test_random_features(shape, dtype):
    queries, gallery, channels = shape
    rng = np.random.default_rng(3)
    problem = list(random_problem(rng, queries, gallery, pids=9))
    problem[0] = rng.standard_normal((queries, channels)).astype(dtype)
    problem[3] = rng.standard_normal((gallery, channels)).astype(dtype)
    if channels == 1:  # all cosines are 1 or -1: ties once more
        problem[0], problem[3] = np.sign(problem[0]), np.sign(problem[3])
    # A float32 product may turn two nearly equal cosines around.
    tolerance = 1e-9 if dtype == np.float64 or channels == 1 else 0.02
    close(evaluate_ranking(*problem), expected_of(problem), tolerance)


@pytest.mark.parametrize('chunk_size', [1, 7, 29, 30, 1000])
def test_chunk_size_changes_nothing(chunk_size):
    problem = random_problem(np.random.default_rng(4), 30, 111)
    assert evaluate_ranking(*problem, chunk_size=chunk_size) == evaluate_ranking(
        *problem
    )


@pytest.mark.parametrize('chunk_size', [0, -3])
def test_bad_chunk_size(chunk_size):
    with pytest.raises(ValueError, match='chunk_size'):
        evaluate_ranking(QUERY, [7], [0], line(0.9), [7], [1], chunk_size=chunk_size)


def test_kinds_of_input_agree():
    problem = random_problem(np.random.default_rng(5), 20, 60)
    query, query_pids, query_camids, gallery, gallery_pids, gallery_camids = problem
    expected = evaluate_ranking(*problem)

    def check(convert_features, convert_ids):
        result = evaluate_ranking(
            convert_features(query),
            convert_ids(query_pids),
            convert_ids(query_camids),
            convert_features(gallery),
            convert_ids(gallery_pids),
            convert_ids(gallery_camids),
        )
        assert result == expected

    for dtype in (np.float16, np.float32, np.float64, np.longdouble, '>f4'):
        check(lambda x, dtype=dtype: x.astype(dtype), lambda x: x.astype(np.int32))
    for dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
        check(lambda x, dtype=dtype: torch.tensor(x, dtype=dtype), torch.from_numpy)
    check(lambda x: (2 * x).astype(np.int8), lambda x: x.astype(np.int8))
    check(lambda x: x.tolist(), lambda x: x.tolist())
    check(lambda x: torch.tensor(x, requires_grad=True), lambda x: x.tolist())
    # Strides: every other column, columns first, back to front, read-only.
    check(lambda x: np.repeat(x, 2, axis=1)[:, ::2], lambda x: np.repeat(x, 2)[::2])
    check(np.asfortranarray, lambda x: x[::-1].copy()[::-1])
    check(lambda x: x[::-1].copy()[::-1], torch.tensor)
    check(lambda x: torch.tensor(x.T.copy()).T, torch.tensor)

    def frozen(x):
        x = x.copy()
        x.flags.writeable = False
        return x

    check(frozen, frozen)
    mixed = evaluate_ranking(
        torch.tensor(query, dtype=torch.float16), *problem[1:3], gallery, *problem[4:]
    )
    assert mixed == expected


def test_inputs_are_not_changed():
    problem = random_problem(np.random.default_rng(6), 20, 60)
    copies = [array.copy() for array in problem]
    evaluate_ranking(*problem)
    for array, copy in zip(problem, copies):
        np.testing.assert_array_equal(array, copy)


@pytest.mark.parametrize('size', [1e-30, 1e-44, 1e30])
def test_extreme_lengths(size):
    problem = list(random_problem(np.random.default_rng(7), 20, 60))
    expected = evaluate_ranking(*problem)
    problem[3] = (problem[3] * size).astype(np.float32)
    assert evaluate_ranking(*problem) == expected


@pytest.mark.parametrize('side', ['query', 'gallery'])
@pytest.mark.parametrize(
    ('value', 'message'), [(np.nan, 'NaN or Inf'), (np.inf, 'NaN or Inf'), (0, 'zero')]
)
@pytest.mark.parametrize('as_tensor', [False, True])
def test_bad_features(side, value, message, as_tensor):
    problem = list(random_problem(np.random.default_rng(8), 20, 60))
    place = 0 if side == 'query' else 3
    problem[place][13] = value
    if as_tensor:
        problem[place] = torch.from_numpy(problem[place])
    with pytest.raises(ValueError, match=rf'{side}_features: row 13 .*{message}'):
        evaluate_ranking(*problem)


@pytest.mark.parametrize(
    ('place', 'value', 'message'),
    [
        (0, np.ones(3), 'query_features must have the shape'),
        (0, np.ones((0, 6)), 'not be empty'),
        (0, np.ones((20, 5)), 'equally many channels'),
        (1, np.ones(19, int), 'query_pids must have one entry'),
        (2, np.ones((20, 1), int), 'query_camids must have one entry'),
        (3, np.ones((0, 6)), 'gallery_features must have the shape'),
        (4, np.ones(61, int), 'gallery_pids must have one entry'),
        (5, np.ones(59, int), 'gallery_camids must have one entry'),
    ],
)
def test_bad_shapes(place, value, message):
    problem = list(random_problem(np.random.default_rng(9), 20, 60))
    problem[place] = value
    with pytest.raises(ValueError, match=message):
        evaluate_ranking(*problem)


def test_bad_types():
    problem = list(random_problem(np.random.default_rng(10), 20, 60))
    with pytest.raises(TypeError, match='query_pids must be integers'):
        evaluate_ranking(problem[0], problem[1] + 0.5, *problem[2:])
    with pytest.raises(TypeError, match='real'):
        evaluate_ranking(torch.ones(20, 6, dtype=torch.complex64), *problem[1:])
    with pytest.raises(TypeError, match='numbers'):
        evaluate_ranking(np.full((20, 6), 'a'), *problem[1:])


def test_rank_from_similarity():
    rng = np.random.default_rng(11)
    problem = random_problem(rng, 25, 70)
    ids = problem[1], problem[2], problem[4], problem[5]
    similarity = rng.integers(0, 6, (25, 70)).astype(np.float32)
    expected = reference_ranking(similarity, *ids)
    asked = []

    def rows(index):
        asked.append(len(index))
        return similarity[index]

    close(rank_from_similarity(similarity, *ids), expected)
    close(rank_from_similarity(torch.from_numpy(similarity), *ids), expected)
    close(rank_from_similarity(torch.tensor(similarity).bfloat16(), *ids), expected)
    close(rank_from_similarity(similarity.tolist(), *ids), expected)
    close(rank_from_similarity(rows, *ids, chunk_size=8), expected)
    assert max(asked) == 8


def test_rank_from_bad_similarity():
    similarity = np.zeros((2, 3), np.float32)
    ids = [1, 2], [0, 0], [1, 2, 1], [1, 1, 1]
    with pytest.raises(ValueError, match=r'\(2, 3\), got \(3, 2\)'):
        rank_from_similarity(similarity.T, *ids)
    with pytest.raises(ValueError, match=r'\(2, 3\), got \(2, 2\)'):
        rank_from_similarity(lambda rows: similarity[rows][:, :2], *ids)
    similarity[1, 2] = np.nan
    with pytest.raises(ValueError, match='NaN'):
        rank_from_similarity(similarity, *ids)
    with pytest.raises(ValueError, match='NaN'):
        rank_from_similarity(torch.from_numpy(similarity), *ids)


@pytest.mark.gpu
def test_gpu():
    problem = list(random_problem(np.random.default_rng(12), 50, 300))
    expected = evaluate_ranking(*problem)
    # TF32 and autocast must not reach the similarities.
    rng = np.random.default_rng(13)
    smooth = list(problem)
    smooth[0] = rng.standard_normal((50, 64), dtype=np.float32)
    smooth[3] = rng.standard_normal((300, 64), dtype=np.float32) * 0.1 + smooth[0][0]
    expected_smooth = evaluate_ranking(*smooth)
    tf32 = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = True
    try:
        for dtype in (torch.float16, torch.float32, torch.float64):
            problem[0] = torch.as_tensor(problem[0], dtype=dtype)
            problem[3] = torch.as_tensor(problem[3], dtype=dtype, device='cuda')
            with torch.autocast('cuda', torch.bfloat16):
                assert evaluate_ranking(*problem) == expected
                assert evaluate_ranking(*problem, chunk_size=7) == expected
        smooth[3] = torch.as_tensor(smooth[3], device='cuda')
        close(evaluate_ranking(*smooth), expected_smooth, 0.02)
        assert torch.backends.cuda.matmul.allow_tf32
    finally:
        torch.backends.cuda.matmul.allow_tf32 = tf32
