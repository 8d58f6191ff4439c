# SPDX-License-Identifier: Apache-2.0
import sys

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from sklearn.cluster import HDBSCAN
from sklearn.metrics import adjusted_rand_score

from mmreid_gcl.clustering import (
    DBSCANClusterer,
    InfomapClusterer,
    KMeansClusterer,
    dbscan_on_graph,
    k_reciprocal_jaccard,
)
from mmreid_gcl.clustering.clusterers.base import collapse
from mmreid_gcl.clustering.clusterers.dbscan import stable_radius
from mmreid_gcl.clustering.clusterers.hdbscan import HDBSCANClusterer, connect
from mmreid_gcl.labels import by_first_member
from mmreid_gcl.registry import TASK_UTILS

from . import reference
from .test_k_reciprocal import blobs

CONFIGS = [
    dict(type='DBSCANClusterer', k1=15),
    dict(type='HDBSCANClusterer', k1=15),
    dict(type='InfomapClusterer', k1=15),
    dict(type='KMeansClusterer', num_clusters=10, num_redo=5),
]


def ten_groups(seed=0):
    rng = np.random.default_rng(seed)
    truth = np.repeat(np.arange(10), 20)
    centres = rng.standard_normal((10, 64))
    x = centres[truth] + 0.3 * rng.standard_normal((200, 64))
    return x.astype(np.float32), truth


@pytest.mark.parametrize('cfg', CONFIGS, ids=lambda cfg: cfg['type'])
def test_finds_groups_that_are_there(cfg):
    x, truth = ten_groups()
    clusterer = TASK_UTILS.build(cfg)
    labels = clusterer(torch.from_numpy(x).half())
    assert labels.dtype == np.int64 and labels.shape == (200,)
    # numbered by their first members, which is the order of the truth
    np.testing.assert_array_equal(labels, truth)
    np.testing.assert_array_equal(TASK_UTILS.build(cfg)(x), labels)
    if cfg['type'] != 'KMeansClusterer':
        assert isinstance(clusterer.distances_, sp.csr_array)
        assert clusterer.distances_.shape == (200, 200)


@pytest.mark.parametrize('cfg', CONFIGS[:3], ids=lambda cfg: cfg['type'])
def test_few_rows(cfg):
    for n in (1, 2, 5):
        labels = TASK_UTILS.build(cfg)(blobs(n))
        assert labels.shape == (n,)
        assert labels.min() >= -1 and labels.max() < n


@pytest.mark.parametrize('cfg', CONFIGS, ids=lambda cfg: cfg['type'])
def test_features_are_left_alone_on_disk(cfg, tmp_path):
    x, _ = ten_groups()
    on_disk = np.memmap(tmp_path / 'x.bin', np.float32, 'w+', shape=x.shape)
    on_disk[:] = x
    on_disk.flush()
    read_only = np.memmap(tmp_path / 'x.bin', np.float32, 'r', shape=x.shape)
    expected = TASK_UTILS.build(cfg)(x)
    np.testing.assert_array_equal(TASK_UTILS.build(cfg)(read_only), expected)


@pytest.mark.parametrize('cfg', CONFIGS, ids=lambda cfg: cfg['type'])
def test_bad_rows_are_named(cfg):
    x, _ = ten_groups()
    x[7] = 0
    with pytest.raises(ValueError, match=r'features\[7\] is a zero vector'):
        TASK_UTILS.build(cfg)(x)
    x[5, 0] = np.nan
    with pytest.raises(ValueError, match=r'features\[5\] contains NaN'):
        TASK_UTILS.build(cfg)(x)


@pytest.mark.parametrize('seed', range(4))
def test_hdbscan_is_that_of_a_dense_matrix(seed):
    # far distances count as 1 in the dense matrix too
    x = blobs(90, groups=6, noise=1.0, seed=seed)
    labels = HDBSCANClusterer(5, k1=12, k2=3, max_distance=0.9)(x)
    dense = reference.jaccard(x, 12, 3)
    np.fill_diagonal(dense, 0)
    dense[dense > 0.9] = 1
    model = HDBSCAN(5, metric='precomputed', copy=True, algorithm='brute')
    expected = model.fit_predict(dense)
    assert labels.max() >= 1
    # ties at 1 may be taken in another order; what they separate is the same
    assert adjusted_rand_score(labels, expected) > 0.85


def test_connect_keeps_distances_and_joins_all():
    graph = sp.csr_array((np.float32([0, 0, 0.2, 0.2]), ([0, 1, 0, 1], [0, 1, 1, 0])))
    graph = sp.block_diag([graph] * 4, format='csr')
    joined = connect(sp.csr_array(graph), 3)
    assert sp.csgraph.connected_components(joined)[0] == 1
    dense = joined.toarray()
    np.testing.assert_allclose(dense, dense.T)
    np.testing.assert_allclose(dense[0, 1], 0.2, atol=1e-6)
    np.testing.assert_allclose(dense[1, 2], 1, atol=1e-6)
    assert (np.diff(joined.indptr) >= 4).all()


def test_infomap_splits_what_one_link_joins():
    # Two cliques and one weak link between them: one component, two modules.
    dense = np.full((12, 12), np.nan)
    dense[:6, :6] = dense[6:, 6:] = 0.1
    dense[5, 6] = dense[6, 5] = 0.55
    row, col = np.nonzero(~np.isnan(dense))
    graph = sp.csr_array((dense[row, col], (row, col)), shape=(13, 13))
    modules = InfomapClusterer()._modules(graph)
    labels = by_first_member(modules, min_size=2)
    np.testing.assert_array_equal(labels, [0] * 6 + [1] * 6 + [-1])


def test_infomap_without_its_package(monkeypatch):
    monkeypatch.setitem(sys.modules, 'infomap', None)
    with pytest.raises(ImportError, match='pip install infomap'):
        InfomapClusterer()


def test_kmeans_wants_enough_rows():
    with pytest.raises(ValueError, match='only 5 features'):
        KMeansClusterer(6)(blobs(5))
    labels = KMeansClusterer(4)(np.ones((9, 3), np.float32))
    assert labels.min() == 0  # copies of one row: empty clusters are left out
    np.testing.assert_array_equal(np.unique(labels), np.arange(labels.max() + 1))


@pytest.mark.parametrize(
    'labels, min_size, expected',
    [
        ([7, 7, 3, -2, 3, 9], 1, [0, 0, 1, -1, 1, 2]),
        ([7, 7, 3, -2, 3, 9], 2, [0, 0, 1, -1, 1, -1]),
        ([5, 1, 1], 2, [-1, 0, 0]),
        ([-1, -1], 1, [-1, -1]),
        ([], 1, []),
    ],
)
def test_by_first_member(labels, min_size, expected):
    labels = np.array(labels, np.int64)
    np.testing.assert_array_equal(by_first_member(labels, min_size), expected)


@pytest.mark.parametrize(
    'cfg',
    [
        dict(type='HDBSCANClusterer', max_distance=1.0),
        dict(type='HDBSCANClusterer', min_cluster_size=1),
        dict(type='HDBSCANClusterer', min_samples=0),
        dict(type='InfomapClusterer', eps=0.0),
        dict(type='InfomapClusterer', num_trials=0),
        dict(type='KMeansClusterer', num_clusters=0),
    ],
)
def test_parameters_are_checked_when_built(cfg):
    with pytest.raises(ValueError, match='must be'):
        TASK_UTILS.build(cfg)


@pytest.mark.parametrize('name', ['dbscan', 'hdbscan', 'infomap', 'kmeans'])
def test_base_configs_build(name):
    from mmengine.config import Config

    cfg = Config.fromfile(f'configs/_base_/pseudo_labels/{name}.py')
    settings = cfg.default_hooks.pseudo_labels.clusterer
    assert callable(TASK_UTILS.build(settings))


def test_the_stable_radius_is_that_of_plain_loops():
    x, truth = ten_groups(3)
    distances = k_reciprocal_jaccard(x, 15, 6, 0.7)
    radii = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7)
    found = [dbscan_on_graph(distances, radius, 4) for radius in radii]
    best, chosen = -1.0, None
    for i in range(1, len(radii) - 1):
        beside = []
        for j in (i - 1, i + 1):  # outliers are clusters of their own
            one, other = (
                [
                    label if label >= 0 else -1 - n
                    for n, label in enumerate(found[k].tolist())
                ]
                for k in (i, j)
            )
            beside.append(adjusted_rand_score(one, other))
        sizes = np.bincount(found[i][found[i] >= 0], minlength=1)
        worth = min(beside) * (sizes.sum() - sizes.max()) / len(x)
        if worth > best:
            best, chosen = worth, radii[i]
    assert stable_radius(distances, 4, radii) == chosen
    labels = DBSCANClusterer(eps='auto', k1=15)(x)
    np.testing.assert_array_equal(labels, truth)
    with pytest.raises(ValueError, match="or 'auto', got 'wide'"):
        DBSCANClusterer(eps='wide')
    assert DBSCANClusterer(eps=0.4).eps == 0.4


@pytest.mark.parametrize('name', ['DBSCAN', 'HDBSCAN', 'Infomap', 'SelfPaced'])
@pytest.mark.parametrize(
    'count, settings, expected',
    [
        (40, {}, (6, 2)),
        (143, {}, (11, 3)),
        (899, {}, (29, 6)),
        (900, {}, (30, 6)),
        (12936, {}, (30, 6)),
        (2, {}, (2, 1)),
        (40, dict(k1=30, k2=6), (30, 6)),  # a number is a number
        (40, dict(k1=15), (15, 6)),
        (40, dict(k2=5), (6, 5)),
    ],
)
def test_neighbours_scale_with_the_images(name, count, settings, expected):
    clusterer = TASK_UTILS.build(dict(type=f'{name}Clusterer', **settings))
    assert clusterer.neighbours(count) == expected


def test_few_images_are_not_one_cluster():
    """15 people with 40 images: 30 neighbours are nearly all of them."""
    rng = np.random.default_rng(0)
    truth = np.sort(np.concatenate([np.arange(15), rng.integers(0, 15, 25)]))
    centres = rng.standard_normal((15, 32)) + 1
    x = centres[truth] + 0.3 * rng.standard_normal((40, 32))
    paper = DBSCANClusterer(min_samples=2, k1=30, k2=6)
    assert paper(x).max() == 0
    scaled = DBSCANClusterer(min_samples=2)(x)
    exact = DBSCANClusterer(min_samples=2, k1=6, k2=2)(x)
    np.testing.assert_array_equal(scaled, exact)
    assert adjusted_rand_score(scaled, truth) > 0.5
    advice = collapse(paper(x), paper)
    assert 'one cluster in 40 images' in advice and 'k1=6 k2=2' in advice
    assert 'eps=0.6' in advice and 'min_samples=2' in advice
    assert collapse(scaled, paper) is None


def test_advice_where_nothing_is_a_cluster():
    labels = np.full(50, -1)
    advice = collapse(labels, DBSCANClusterer(0.1))
    assert 'no cluster in 50 images' in advice and 'Raise eps' in advice
    assert 'KMeansClusterer(num_clusters=3' in collapse(labels, KMeansClusterer(3))


def test_from_900_images_on_neighbours_are_those_of_the_paper():
    x = blobs(950, groups=30)
    labels = DBSCANClusterer()(x)
    np.testing.assert_array_equal(labels, DBSCANClusterer(k1=30, k2=6)(x))
