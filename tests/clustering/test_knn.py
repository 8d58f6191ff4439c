# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmreid_gcl.clustering import knn_search
from mmreid_gcl.clustering._knn_symmetric import symmetric_search
from mmreid_gcl.clustering.features import prepare_features

from . import reference

EXACT = ['symmetric', 'torch', 'faiss']


def gaussian(n, c, seed=0):
    return np.random.default_rng(seed).standard_normal((n, c)).astype(np.float32)


@settings(max_examples=40, deadline=None)
@given(
    n=st.integers(1, 60),
    c=st.integers(1, 12),
    k=st.integers(1, 70),
    length=st.sampled_from([1e-3, 1.0, 50.0]),
    seed=st.integers(0, 2**16),
    backend=st.sampled_from(EXACT),
)
def test_equals_sorting_everything(n, c, k, length, seed, backend):
    x = gaussian(n, c, seed) * np.float32(length)
    distances, indices = knn_search(x, k, backend)
    k = min(k, n)
    assert distances.shape == indices.shape == (n, k)
    assert distances.dtype == np.float32 and indices.dtype == np.int64
    dense, order = reference.sorted_neighbours(x)
    expected = np.take_along_axis(dense, np.array(order)[:, :k], 1)
    np.testing.assert_allclose(distances, expected, atol=2e-3 * length)
    np.testing.assert_array_equal(indices[:, 0], np.arange(n))
    np.testing.assert_array_equal(distances[:, 0], 0)
    for row in indices:
        assert len(set(row)) == k
    found = np.take_along_axis(dense, indices, 1)
    np.testing.assert_allclose(found, expected, atol=2e-3 * length)


@pytest.mark.parametrize('block', [1, 7, 64, 100, 1000])
def test_blocks_of_any_size(block):
    x = gaussian(200, 20)
    distances, indices = symmetric_search(prepare_features(x, True), 9, block)
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    dense, order = reference.sorted_neighbours(unit)
    np.testing.assert_array_equal(indices, np.array(order)[:, 1:10])
    expected = np.take_along_axis(dense, indices, 1) ** 2
    np.testing.assert_allclose(distances, expected, atol=1e-5)


@pytest.mark.parametrize('backend', EXACT)
def test_ties_go_to_the_smaller_index(backend):
    # Whole numbers: every distance is exact, and many are equal.
    x = np.random.default_rng(0).integers(0, 3, (150, 3)).astype(np.float32)
    _, indices = knn_search(x, 150, backend)
    _, order = reference.sorted_neighbours(x)
    np.testing.assert_array_equal(indices, order)


@pytest.mark.parametrize('backend', ['symmetric', 'torch'])
def test_ties_at_the_end_of_the_list(backend):
    x = np.random.default_rng(1).integers(0, 3, (150, 3)).astype(np.float32)
    options = dict(rerank=149) if backend == 'torch' else {}
    _, indices = knn_search(x, 8, backend, **options)
    _, order = reference.sorted_neighbours(x)
    np.testing.assert_array_equal(indices, np.array(order)[:, :8])


@pytest.mark.parametrize('backend', [*EXACT, 'ivf', 'hnsw', 'int8'])
def test_more_copies_than_neighbours(backend):
    x = np.repeat(gaussian(2, 6), 50, axis=0)
    distances, indices = knn_search(x, 5, backend)
    np.testing.assert_array_equal(indices[:, 0], np.arange(100))
    np.testing.assert_allclose(distances, 0, atol=2e-3)
    np.testing.assert_array_equal(
        indices // 50, np.repeat([[0], [1]], 50, axis=0) + 0 * indices
    )


@pytest.mark.parametrize('precision', ['tf32', 'float16', 'bfloat16'])
def test_torch_in_low_precision_finds_nearly_all(precision):
    x = gaussian(500, 64)
    exact_d, exact = knn_search(x, 20, 'torch', device='cpu')
    low_d, low = knn_search(x, 20, 'torch', device='cpu', precision=precision)
    recall = np.mean([len(set(a) & set(b)) / 20 for a, b in zip(exact, low)])
    assert recall > 0.999
    np.testing.assert_allclose(low_d, exact_d, atol=1e-3)


@settings(max_examples=20, deadline=None)
@given(
    n=st.integers(2, 80),
    c=st.integers(1, 70),
    k=st.integers(2, 90),
    shift=st.sampled_from([0.0, 30.0]),
    seed=st.integers(0, 2**16),
)
def test_bytes_with_all_candidates_are_exact(n, c, k, shift, seed):
    # every row is a candidate: what is left to test is the way there and back
    x = gaussian(n, c, seed) + np.float32(shift)
    distances, indices = knn_search(x, k, 'int8', extra=n, block=16)
    dense, _ = reference.sorted_neighbours(x)
    expected = np.sort(dense, axis=1)[:, :k]
    np.testing.assert_allclose(distances, expected, atol=2e-2 if shift else 2e-3)
    np.testing.assert_array_equal(indices[:, 0], np.arange(n))


@pytest.mark.parametrize('shift', [0.0, 5.0])
def test_bytes_find_nearly_all(shift):
    x = gaussian(1500, 64) + np.float32(shift)
    _, exact = knn_search(x.astype(np.float64), 20, 'faiss')
    _, found = knn_search(x, 20, 'int8')
    recall = np.mean([len(set(a) & set(b)) / 20 for a, b in zip(exact, found)])
    assert recall > 0.995


@pytest.mark.parametrize('precision', ['float32', 'bfloat16'])
def test_torch_in_small_chunks(precision):
    x = gaussian(130, 10)
    expected = knn_search(x, 12, 'torch', precision=precision)
    found = knn_search(x, 12, 'torch', precision=precision, chunk_bytes=4 * 130 * 17)
    np.testing.assert_array_equal(found[1], expected[1])


@pytest.mark.parametrize('length', [1e-3, 1.0, 1e4, 1e6])
@pytest.mark.parametrize('precision', ['float32', 'tf32', 'float16', 'bfloat16'])
def test_torch_on_near_copies_of_any_length(precision, length):
    rng = np.random.default_rng(0)
    x = np.repeat(rng.normal(size=(4, 32)), 50, axis=0)
    x = x / np.linalg.norm(x, axis=1, keepdims=True)
    x = (length * (x + 1e-5 * rng.normal(size=x.shape))).astype(np.float32)
    distances, indices = knn_search(x, 10, 'torch', precision=precision)
    np.testing.assert_array_equal(indices[:, 0], np.arange(200))
    np.testing.assert_array_equal(
        indices // 50, np.arange(200)[:, None] // 50 + 0 * indices
    )
    assert np.isfinite(distances).all()


def test_torch_in_low_precision_logs_its_recall(monkeypatch):
    lines = []
    monkeypatch.setattr(
        'mmreid_gcl.clustering.recall.print_log',
        lambda message, **_: lines.append(message),
    )
    knn_search(gaussian(300, 16), 10, 'torch', precision='bfloat16')
    assert 'Neighbours in bfloat16: recall@9 = ' in lines[0]
    knn_search(gaussian(300, 16), 10, 'torch')
    assert len(lines) == 1


@pytest.mark.parametrize(
    'backend, options',
    [
        ('ivf', dict(nlist=8, nprobe=8)),
        ('ivf', dict(nlist=8, nprobe=8, quantizer='SQfp16')),
        ('ivf', {}),
        ('hnsw', dict(ef_search=400)),
        ('int8', dict(extra=40)),
    ],
)
def test_approximate_search_with_its_recall(backend, options, monkeypatch):
    lines = []
    monkeypatch.setattr(
        'mmreid_gcl.clustering.recall.print_log',
        lambda message, **_: lines.append(message),
    )
    x = gaussian(2000, 8)
    _, exact = knn_search(x, 10, 'symmetric')
    _, found = knn_search(x, 10, backend, **options)
    hits = [len(set(a[1:]) & set(b[1:])) for a, b in zip(exact, found)]
    assert np.mean(hits) / 9 > 0.9
    logged = float(lines[-1].split('recall@9 = ')[1].split()[0])
    assert abs(logged - np.mean(hits) / 9) < 0.01


@pytest.mark.parametrize('backend', ['ivf', 'int8'])
def test_approximate_search_is_the_same_in_every_run(backend):
    x = gaussian(3000, 8)
    first, second = (knn_search(x, 10, backend) for _ in range(2))
    np.testing.assert_array_equal(first[1], second[1])


def test_auto_says_what_it_picked(monkeypatch):
    lines = []
    monkeypatch.setattr(
        'mmreid_gcl.clustering.knn.print_log',
        lambda message, **_: lines.append(message),
    )
    knn_search(gaussian(50, 4), 3)
    picked = 'torch' if torch.cuda.is_available() else 'symmetric'
    assert f"50 x 4 features: backend '{picked}'" in lines[0]
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    monkeypatch.setattr('mmreid_gcl.clustering.knn._EXACT_SECONDS', 0)
    for fast, expected in ((True, 'int8'), (False, 'ivf')):
        monkeypatch.setattr(
            'mmreid_gcl.clustering.knn._has_fast_bytes', lambda fast=fast: fast
        )
        knn_search(gaussian(1500, 4), 3)
        assert f"backend '{expected}'" in lines[-1]
    monkeypatch.setattr('mmreid_gcl.clustering.knn._has_fast_bytes', lambda: True)
    monkeypatch.setattr('mmreid_gcl.clustering.knn._BYTE_SECONDS', 0)
    knn_search(gaussian(1500, 4), 3)
    assert "backend 'ivf'" in lines[-1]


def test_bad_arguments():
    x = gaussian(10, 3)
    for k in (0, -1, 1.5, True):
        with pytest.raises(ValueError, match='k must be a whole number'):
            knn_search(x, k)
    with pytest.raises(ValueError, match=r"'auto' or one of .*'faiss'"):
        knn_search(x, 3, 'annoy')
    with pytest.raises(ValueError, match="'auto' takes no options"):
        knn_search(x, 3, nprobe=3)
    with pytest.raises(ValueError, match='precision must be one of'):
        knn_search(x, 3, 'torch', precision='int3')
    x[4, 1] = np.nan
    with pytest.raises(ValueError, match=r'features\[4\] contains NaN'):
        knn_search(x, 3)
    with pytest.raises(ValueError, match=r'features\[0\] is too long'):
        knn_search(gaussian(4, 3) * np.float32(1e25), 3)


def test_integers_are_features_and_what_is_no_number_is_not():
    x = np.random.default_rng(0).integers(-9, 10, (30, 4))
    expected = reference.sorted_neighbours(x.astype(np.float32))[1]
    for features in (x, torch.from_numpy(x), x.tolist()):
        np.testing.assert_array_equal(knn_search(features, 30)[1], expected)
    for features in (x.astype(complex), torch.from_numpy(x.astype(complex))):
        with pytest.raises(TypeError, match='features must be'):
            knn_search(features, 3)
    with pytest.raises(ValueError, match=r'features must have the shape.*\(30,\)'):
        knn_search(x[:, 0], 3)


def test_zero_rows_are_fine_for_a_plain_search():
    x = gaussian(10, 3)
    x[4] = 0
    _, indices = knn_search(x, 10)
    np.testing.assert_array_equal(indices, reference.sorted_neighbours(x)[1])


@pytest.mark.gpu
@pytest.mark.parametrize('precision', ['float32', 'tf32', 'float16', 'bfloat16'])
def test_gpu(precision):
    x = np.random.default_rng(0).integers(0, 4, (500, 6)).astype(np.float32)
    options = dict(device='cuda', precision=precision, rerank=499)
    _, indices = knn_search(x, 9, 'torch', chunk_bytes=100_000, **options)
    _, order = reference.sorted_neighbours(x)
    np.testing.assert_array_equal(indices, np.array(order)[:, :9])


def test_faiss_without_a_gpu_says_what_to_do():
    import faiss

    if hasattr(faiss, 'StandardGpuResources') and faiss.get_num_gpus():
        pytest.skip('there is a GPU')
    with pytest.raises(RuntimeError, match='pip install faiss-gpu'):
        knn_search(gaussian(10, 3), 3, 'faiss-gpu')
