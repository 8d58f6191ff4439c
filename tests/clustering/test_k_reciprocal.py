# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from mmreid_gcl.clustering import k_reciprocal_jaccard, knn_search
from mmreid_gcl.clustering.k_reciprocal import half_neighbourhood

from . import reference


def blobs(n, c=16, groups=5, noise=0.7, seed=0):
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((groups, c))
    x = centres[rng.integers(groups, size=n)] + noise * rng.standard_normal((n, c))
    return x.astype(np.float32)


def unit(x):
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def assert_graph(graph, dense, max_distance):
    """The stored entries are exactly those of the dense matrix up to the limit."""
    found = np.full(dense.shape, np.nan)
    coo = graph.tocoo()
    found[coo.row, coo.col] = coo.data
    stored = ~np.isnan(found)
    sure = np.abs(dense - max_distance) > 1e-5
    np.testing.assert_array_equal(stored[sure], (dense <= max_distance)[sure])
    np.testing.assert_allclose(found[stored], dense[stored], atol=1e-5)


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(1, 40),
    c=st.integers(1, 20),
    k1=st.integers(1, 45),
    k2=st.integers(1, 12),
    eps=st.floats(0.01, 0.99),
    seed=st.integers(0, 2**16),
)
def test_equals_the_definition(n, c, k1, k2, eps, seed):
    x = blobs(n, c, seed=seed)
    ks = (k1, half_neighbourhood(k1), k2)
    assume(reference.gap_to_ties(x, ks) > 1e-5)
    graph = k_reciprocal_jaccard(x, k1, k2, eps)
    assert_graph(graph, reference.jaccard(x, k1, k2), eps)


@pytest.mark.parametrize('backend', ['symmetric', 'torch', 'faiss'])
def test_backends_and_many_ranges(backend):
    x = blobs(300, 32, groups=12, noise=1.2, seed=3)
    graph = k_reciprocal_jaccard(x, knn=dict(backend=backend))
    assert_graph(graph, reference.jaccard(x, 30, 6), 0.6)
    assert graph.nnz > 300


def test_form_of_the_result():
    graph = k_reciprocal_jaccard(blobs(80), k1=10, k2=3)
    assert graph.dtype == np.float32 and graph.shape == (80, 80)
    assert graph.has_canonical_format
    dense = np.full((80, 80), 9.0)
    coo = graph.tocoo()
    dense[coo.row, coo.col] = coo.data
    np.testing.assert_array_equal(dense, dense.T)
    np.testing.assert_array_equal(np.diag(dense), 0)  # stored, so not 9


@pytest.mark.parametrize(
    'k1, half', [(1, 1), (2, 2), (3, 3), (5, 3), (7, 5), (20, 11), (30, 16)]
)
def test_half_neighbourhood_rounds_halves_to_even(k1, half):
    assert half_neighbourhood(k1) == half


def test_expansion_needs_strictly_more_than_two_thirds():
    # On a line every list can be written down by hand. k1 = 4, half = 3.
    angles = np.cumsum([0, 1.0, 1.13, 1.31, 1.57, 1.91, 2.3, 2.7]) * 0.01
    x = np.stack([np.cos(angles), np.sin(angles)], 1)
    for k1 in (2, 3, 4, 5):
        assert_graph(
            k_reciprocal_jaccard(x, k1, 1, 0.99), reference.jaccard(x, k1, 1), 0.99
        )


def test_exact_copies():
    # More copies than k1: every row keeps itself, ties go by index.
    x = np.repeat(blobs(3, 8, noise=0.0, groups=3, seed=1), 9, axis=0)
    x += np.repeat(np.arange(3), 9)[:, None].astype(np.float32)
    graph = k_reciprocal_jaccard(x, k1=4, k2=2)
    np.testing.assert_array_equal(graph.diagonal(), 0)
    assert np.isfinite(graph.data).all()
    group = np.repeat(np.arange(3), 9)
    coo = graph.tocoo()
    np.testing.assert_array_equal(group[coo.row], group[coo.col])
    two = np.repeat(blobs(20, 8, seed=2), 2, axis=0)
    graph = k_reciprocal_jaccard(two, k1=6, k2=2)
    pairs = graph.toarray()[np.arange(0, 40, 2), np.arange(1, 40, 2)]
    np.testing.assert_allclose(pairs, 0, atol=1e-5)


def test_one_row_and_fewer_rows_than_k1():
    one = k_reciprocal_jaccard(np.ones((1, 3), np.float32))
    assert one.shape == (1, 1) and one.nnz == 1 and one.data[0] == 0
    x = blobs(7)
    assert_graph(k_reciprocal_jaccard(x), reference.jaccard(x, 30, 6), 0.6)


def test_input_forms_agree(tmp_path):
    x = blobs(90, 24, seed=5).astype(np.float16)
    expected = k_reciprocal_jaccard(x.astype(np.float32), 12, 4)
    on_disk = np.memmap(tmp_path / 'x.bin', np.float32, 'w+', shape=x.shape)
    on_disk[:] = x
    strided = np.zeros((180, 48), np.float64)
    strided[::2, ::2] = x
    forms = [
        x,
        strided[::2, ::2],
        np.asfortranarray(x),
        on_disk,
        torch.from_numpy(x),
        torch.from_numpy(x.astype(np.float64)).requires_grad_(),
    ]
    for form in forms:
        graph = k_reciprocal_jaccard(form, 12, 4)
        np.testing.assert_array_equal(graph.indices, expected.indices)
        np.testing.assert_array_equal(graph.data, expected.data)


def test_input_is_left_alone():
    x = blobs(50) * 7
    before = x.copy()
    k_reciprocal_jaccard(x, 10, 3)
    np.testing.assert_array_equal(x, before)


@pytest.mark.parametrize('factor', [1e-30, 1e-3, 1e4, 1e18])
def test_length_does_not_matter(factor):
    x = blobs(60, seed=8)
    expected = k_reciprocal_jaccard(x, 10, 3)
    graph = k_reciprocal_jaccard((x * np.float32(factor)), 10, 3)
    np.testing.assert_array_equal(graph.indices, expected.indices)
    np.testing.assert_allclose(graph.data, expected.data, atol=1e-5)


def test_same_bits_in_every_run():
    x = blobs(400, 32, groups=20, noise=1.5)
    first, second = (k_reciprocal_jaccard(x) for _ in range(2))
    np.testing.assert_array_equal(first.indices, second.indices)
    np.testing.assert_array_equal(first.data, second.data)


def test_neighbours_given():
    x = unit(blobs(70))
    expected = k_reciprocal_jaccard(x, 10, 3)
    graph = k_reciprocal_jaccard(x, 10, 3, knn=knn_search(x, 15))
    np.testing.assert_array_equal(graph.indices, expected.indices)
    np.testing.assert_allclose(graph.data, expected.data, atol=1e-5)
    with pytest.raises(ValueError, match='max\\(k1, k2\\) = 10'):
        k_reciprocal_jaccard(x, 10, 3, knn=knn_search(x, 5))
    distances, indices = knn_search(x, 15)
    with pytest.raises(ValueError, match='own first neighbour'):
        k_reciprocal_jaccard(x, 10, 3, knn=(distances, indices[:, ::-1]))
    for wrong in (-1, 70):
        beyond = indices.copy()
        beyond[3, 4] = wrong
        with pytest.raises(ValueError, match=r'there are rows 0 to 69'):
            k_reciprocal_jaccard(x, 10, 3, knn=(distances, beyond))
    with pytest.raises(ValueError, match='N = 70'):
        k_reciprocal_jaccard(x, 10, 3, knn=(distances[:9], indices[:9]))


@pytest.mark.parametrize('bad', [np.nan, np.inf, -np.inf])
def test_names_the_first_bad_row(bad):
    x = blobs(40)
    x[17, 3] = x[30, 0] = bad
    with pytest.raises(ValueError, match=r'features\[17\] contains NaN or Inf \(2'):
        k_reciprocal_jaccard(x)


def test_names_the_first_zero_row():
    x = blobs(40)
    x[12] = 0
    with pytest.raises(ValueError, match=r'features\[12\] is a zero vector'):
        k_reciprocal_jaccard(x)


@pytest.mark.parametrize('eps', [0, 1, -0.1, 1.5, np.nan])
def test_distance_limit_out_of_range(eps):
    with pytest.raises(ValueError, match=r'in \(0, 1\)'):
        k_reciprocal_jaccard(blobs(10), max_distance=eps)


@pytest.mark.parametrize('name', ['k1', 'k2'])
@pytest.mark.parametrize('value', [0, -3, 2.5, True])
def test_k_out_of_range(name, value):
    with pytest.raises(ValueError, match=f'{name} must be a whole number'):
        k_reciprocal_jaccard(blobs(10), **{name: value})


@pytest.mark.parametrize(
    'bad, error',
    [
        (np.ones(5, np.float32), ValueError),
        (np.ones((0, 5), np.float32), ValueError),
        (np.ones((5, 0), np.float32), ValueError),
        (np.full((5, 5), 'a'), TypeError),
        (np.ones((5, 5), complex), TypeError),
    ],
)
def test_wrong_shape_or_type(bad, error):
    with pytest.raises(error, match='features must'):
        k_reciprocal_jaccard(bad)
