# SPDX-License-Identifier: Apache-2.0
"""Neighbours of the own camera and of others, by plain loops."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmreid_gcl.clustering import DBSCANClusterer, dbscan_on_graph, k_reciprocal_jaccard
from mmreid_gcl.clustering._knn_cameras import camera_knn


@settings(deadline=None, max_examples=50)
@given(
    n=st.integers(1, 20),
    k=st.integers(1, 9),
    intra=st.integers(0, 8),
    cameras=st.integers(1, 3),
    seed=st.integers(0, 1000),
)
def test_lists_are_those_of_plain_loops(n, k, intra, cameras, seed):
    intra = min(intra, k - 1)
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 6)).astype(np.float32)
    camids = rng.integers(cameras, size=n)
    distances, indices = camera_knn(x, camids, k, intra, 'cpu', chunk_bytes=64)
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    exact = np.linalg.norm(unit[:, None].astype(np.float64) - unit, axis=2)
    k = min(k, n)
    assert distances.shape == indices.shape == (n, k)
    for i in range(n):
        ranked = [j for j in np.argsort(exact[i], kind='stable') if j != i]
        own = [j for j in ranked if camids[j] == camids[i]]
        other = [j for j in ranked if camids[j] != camids[i]]
        inside = max(min(intra, len(own)), k - 1 - len(other))
        own, other = own[:inside], other[: k - 1 - inside]
        places = [((j + 0.5) / len(part), part is other, part[j])
                  for part in (own, other) for j in range(len(part))]  # fmt: skip
        assert indices[i].tolist() == [i, *(j for *_, j in sorted(places))]
        np.testing.assert_allclose(distances[i], exact[i][indices[i]], atol=1e-3)


def test_clusterers_take_it_by_an_option():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(10, 1, 8)) + 0.3 * rng.normal(size=(10, 6, 8))
    x, camids = x.reshape(-1, 8).astype(np.float32), np.tile(np.arange(3), 20)
    clusterer = DBSCANClusterer(0.5, 3, 8, 3, knn=dict(intra=2))
    labels = clusterer(x, dict(camid=camids))
    graph = k_reciprocal_jaccard(x, 8, 3, 0.5, camera_knn(x, camids, 8, 2))
    np.testing.assert_array_equal(labels, dbscan_on_graph(graph, 0.5, 3))
    few = DBSCANClusterer(0.5, 3, knn=dict(intra=20))(x, dict(camid=camids))
    graph = k_reciprocal_jaccard(x, 7, 2, 0.5, camera_knn(x, camids, 7, 6))
    np.testing.assert_array_equal(few, dbscan_on_graph(graph, 0.5, 3))
    auto = DBSCANClusterer(0.5, 3, 8, 3, knn=dict(backend='auto', intra=2))
    np.testing.assert_array_equal(auto(x, dict(camid=camids)), labels)
    with pytest.raises(ValueError, match=r"intra takes no other.*\['precision'\]"):
        DBSCANClusterer(knn=dict(intra=2, precision='tf32'))
    with pytest.raises(ValueError, match='needs the cameras'):
        clusterer(x)
    with pytest.raises(ValueError, match=r'intra must be in \[0, 8\)'):
        camera_knn(x, camids, 8, 8)
    with pytest.raises(ValueError, match=r'cameras .5,. for 60 features'):
        camera_knn(x, camids[:5], 8, 2)
