# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.cluster import DBSCAN

from mmreid_gcl.clustering import (
    DBSCANClusterer,
    HDBSCANClusterer,
    InfomapClusterer,
    dbscan_on_graph,
    graph_silhouette,
    k_reciprocal_jaccard,
)
from mmreid_gcl.registry import TASK_UTILS

from . import reference
from .test_k_reciprocal import blobs


@settings(max_examples=80, deadline=None)
@given(
    n=st.integers(1, 40),
    density=st.floats(0, 0.5),
    min_samples=st.integers(1, 6),
    eps=st.floats(0.05, 0.95),
    seed=st.integers(0, 2**16),
)
def test_labels_are_those_of_dbscan(n, density, min_samples, eps, seed):
    rng = np.random.default_rng(seed)
    dense = np.triu(rng.random((n, n)), 1).astype(np.float32)
    dense[rng.random((n, n)) > density] = 1
    dense = np.triu(dense, 1) + np.triu(dense, 1).T
    row, col = np.nonzero((dense <= 0.95) | np.eye(n, dtype=bool))
    graph = sp.csr_array((dense[row, col], (row, col)), shape=(n, n))
    labels = dbscan_on_graph(graph, eps, min_samples)
    assert labels.dtype == np.int64
    eps32 = np.float32(eps)
    np.testing.assert_array_equal(labels, reference.dbscan(dense, eps32, min_samples))
    theirs = DBSCAN(eps=eps, min_samples=min_samples, metric='precomputed')
    np.testing.assert_array_equal(labels, theirs.fit_predict(graph))


def test_a_row_between_two_clusters_joins_the_first():
    dense = np.ones((7, 7))
    for a, b in [(1, 2), (1, 3), (2, 3), (4, 5), (4, 6), (5, 6), (0, 4), (0, 1)]:
        dense[a, b] = dense[b, a] = 0.1
    np.fill_diagonal(dense, 0)
    dense[0, 0] = 0
    row, col = np.nonzero((dense <= 0.5) | np.eye(7, dtype=bool))
    graph = sp.csr_array((dense[row, col], (row, col)), shape=(7, 7))
    # row 0 has three rows within reach, itself included: not a core row at 4,
    # where rows 1 and 4 (four each) are
    labels = dbscan_on_graph(graph, 0.5, 4)
    np.testing.assert_array_equal(labels, [0, 0, 0, 0, 1, 1, 1])


@settings(max_examples=15, deadline=None)
@given(
    n=st.integers(1, 60),
    k1=st.integers(2, 20),
    k2=st.integers(1, 5),
    eps=st.floats(0.2, 0.8),
    seed=st.integers(0, 2**16),
)
def test_clusterer_equals_the_dense_way(n, k1, k2, eps, seed):
    x = blobs(n, seed=seed)
    clusterer = DBSCANClusterer(eps, 3, k1, k2)
    labels = clusterer(x)
    dense = reference.jaccard(x, k1, k2)
    if np.abs(dense - eps).min() < 1e-5 or reference.gap_to_ties(x, (k1, k2)) < 1e-5:
        return  # float32 may decide otherwise
    np.testing.assert_array_equal(labels, reference.dbscan(dense, eps, 3))
    assert clusterer.distances_.shape == (n, n)


def with_copies(rng, people, copies, channels=8):
    """Some rows with very many exact copies, others near them or far, mixed."""
    x = rng.standard_normal((people, channels)).astype(np.float32)
    near = x[: people // 3] + 0.2 * rng.standard_normal((people // 3, channels))
    rows = np.concatenate([x, near, *(x[i : i + 1].repeat(n, 0) for i, n in copies)])
    return rows[rng.permutation(len(rows))].astype(np.float32)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    people=st.integers(3, 30),
    counts=st.lists(st.integers(1, 60), min_size=1, max_size=3),
    min_samples=st.integers(1, 7),
    k1=st.integers(2, 12),
    k2=st.integers(1, 5),
    eps=st.floats(0.1, 0.8),
    seed=st.integers(0, 2**16),
)
def test_labels_of_copies_are_those_of_the_whole_graph(
    people, counts, min_samples, k1, k2, eps, seed
):
    x = with_copies(np.random.default_rng(seed), people, list(enumerate(counts)))
    clusterer = DBSCANClusterer(eps, min_samples, k1, k2)
    labels = clusterer(x)
    whole = k_reciprocal_jaccard(x, k1, k2, eps)
    np.testing.assert_array_equal(labels, dbscan_on_graph(whole, eps, min_samples))
    kept = clusterer.distances_
    stored = kept.tocoo()
    np.testing.assert_array_equal(whole.toarray()[stored.coords], stored.data)
    for other in (labels, np.arange(len(x)) % 3 - 1):
        expected = graph_silhouette(whole, other)
        assert graph_silhouette(kept, other) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize('name', ['DBSCAN', 'HDBSCAN', 'Infomap', 'SelfPaced'])
def test_memory_of_copies_is_linear(name):
    """1,600 of 2,000 rows are copies: 2.5 million pairs, 100 a row are stored."""
    rng = np.random.default_rng(0)
    x = with_copies(rng, 300, [(0, 800), (1, 800)])
    clusterer = TASK_UTILS.build(dict(type=f'{name}Clusterer', k1=20, k2=6))
    labels = clusterer(x)
    limit = clusterer.max_distance
    assert k_reciprocal_jaccard(x, 20, 6, limit).nnz > 800**2
    assert clusterer.distances_.nnz < 100 * len(x)
    assert sorted(np.bincount(labels[labels >= 0]))[-2] >= 800
    _, image = np.unique(x, axis=0, return_inverse=True)
    for copies in np.flatnonzero(np.bincount(image.ravel()) == 801):
        assert len(np.unique(labels[image.ravel() == copies])) == 1


@pytest.mark.parametrize('seed', range(6))
def test_infomap_of_copies_is_that_of_the_whole_graph(seed):
    rng = np.random.default_rng(seed)
    counts = rng.integers(1, 60, 3).tolist()
    x = with_copies(rng, 20, list(enumerate(counts)))
    clusterer = InfomapClusterer(k1=8, k2=4, num_trials=3)
    labels = clusterer(x)
    whole = k_reciprocal_jaccard(x, 8, 4, clusterer.max_distance)
    assert clusterer.distances_.nnz < whole.nnz
    np.testing.assert_array_equal(labels, clusterer.cluster_graph(whole))


@pytest.mark.parametrize('counts', [[5, 5, 5, 5], [40, 5, 3, 90]])
def test_hdbscan_of_copies(counts):
    """Groups far from each other, which a few images or very many copies fill."""
    rng = np.random.default_rng(0)
    centres = 3 * np.eye(4, 12)
    rows = [np.repeat(c[None], n, 0) for c, n in zip(centres, counts)]
    rows += [c + 0.3 * rng.standard_normal((8, 12)) for c in centres]
    x = np.concatenate(rows).astype(np.float32)
    truth = np.concatenate([np.repeat(np.arange(4), counts), np.arange(32) // 8])
    labels = HDBSCANClusterer(4, k1=8, k2=2)(x)
    copies = truth[: sum(counts)]
    np.testing.assert_array_equal(labels[: len(copies)], copies)
    near = labels[len(copies) :]
    assert ((near == truth[len(copies) :]) | (near == -1)).all()


@pytest.mark.parametrize('seed', range(3))
def test_without_copies_nothing_is_left_out(seed):
    x = blobs(90, groups=6, noise=1.0, seed=seed)
    for clusterer in (HDBSCANClusterer(k1=12, k2=3), InfomapClusterer(k1=12, k2=3)):
        labels = clusterer(x)
        whole = k_reciprocal_jaccard(x, 12, 3, clusterer.max_distance)
        assert clusterer.distances_.nnz == whole.nnz
        np.testing.assert_array_equal(labels, clusterer.cluster_graph(whole))


def test_from_a_config_on_blobs():
    rng = np.random.default_rng(0)
    truth = np.repeat(np.arange(10), 20)
    centres = rng.standard_normal((10, 64))
    x = centres[truth] + 0.3 * rng.standard_normal((200, 64))
    clusterer = TASK_UTILS.build(
        dict(type='DBSCANClusterer', k1=15, knn=dict(backend='torch', device='cpu'))
    )
    labels = clusterer(x)
    assert labels.shape == (200,) and labels.dtype == np.int64
    np.testing.assert_array_equal(labels, truth)
    np.testing.assert_array_equal(clusterer(x), labels)


def test_nothing_but_outliers():
    x = np.eye(12, dtype=np.float32)
    x[:, 0] += 0.01 * np.arange(12)
    labels = DBSCANClusterer(eps=0.01, k1=2, k2=1)(x)
    np.testing.assert_array_equal(labels, -1)


@pytest.mark.parametrize(
    'bad', [dict(eps=0), dict(eps=1.0), dict(min_samples=0), dict(k1=0), dict(k2=0)]
)
def test_parameters_are_checked_when_built(bad):
    with pytest.raises(ValueError, match='must be'):
        DBSCANClusterer(**bad)
