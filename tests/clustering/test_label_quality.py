# SPDX-License-Identifier: Apache-2.0
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array
from sklearn.metrics import silhouette_score

from mmreid_gcl.clustering import camera_summary
from mmreid_gcl.clustering.label_quality import (
    adjusted_rand_index,
    camera_pairs,
    cluster_summary,
    graph_silhouette,
    normalized_mutual_info,
    pairwise_precision_recall,
    track_summary,
)

from .reference import stretches


def test_an_outlier_is_a_cluster_of_its_own():
    assert adjusted_rand_index([-1, -1, 0, 0], [5, 6, 7, 7]) == 1
    assert adjusted_rand_index([-1, -1, 0, 0], [5, 5, 7, 7]) < 1
    assert normalized_mutual_info([-1, -1, 0, 0], [5, 6, 7, 7]) == pytest.approx(1)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(-1, 4), st.integers(0, 4)), min_size=1, max_size=25)
)
def test_pairwise_precision_and_recall_count_pairs(pairs):
    labels, truth = map(np.array, zip(*pairs))
    hits = clustered = identical = 0
    for i, j in combinations(range(len(labels)), 2):
        one_cluster = labels[i] == labels[j] >= 0
        one_person = truth[i] == truth[j]
        hits += one_cluster and one_person
        clustered += one_cluster
        identical += one_person
    precision, recall = pairwise_precision_recall(labels, truth)
    assert precision == pytest.approx(hits / clustered if clustered else 1)
    assert recall == pytest.approx(hits / identical if identical else 1)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(-1, 3), st.integers(-1, 3), st.integers(0, 2)),
        min_size=1,
        max_size=25,
    )
)
def test_pairs_within_and_across_cameras_are_counted(rows):
    labels, truth, camids = map(np.array, zip(*rows))
    found = camera_pairs(labels, truth, camids)
    for where in ('within', 'across'):
        hits = clustered = identical = 0
        for i, j in combinations(range(len(labels)), 2):
            if (camids[i] == camids[j]) != (where == 'within'):
                continue
            one_cluster = labels[i] == labels[j] >= 0
            one_person = truth[i] == truth[j] >= 0
            hits += one_cluster and one_person
            clustered += one_cluster
            identical += one_person
        expected = hits / clustered if clustered else 1
        assert found[f'precision_{where}'] == pytest.approx(expected)
        expected = hits / identical if identical else 1
        assert found[f'recall_{where}'] == pytest.approx(expected)


@pytest.mark.parametrize('seed', range(5))
def test_silhouette_on_a_full_graph_is_scikit_learns(seed):
    rng = np.random.default_rng(seed)
    points = rng.random((30, 3))
    dense = np.linalg.norm(points[:, None] - points[None], axis=2)
    dense = 0.01 + 0.98 * dense / dense.max()  # no stored zero, none above 1
    np.fill_diagonal(dense, 0)
    labels = rng.integers(0, 4, 30)
    rows, columns = np.divmod(np.arange(900), 30)
    graph = csr_array((dense.ravel(), (rows, columns)), shape=(30, 30))
    expected = silhouette_score(dense, labels, metric='precomputed')
    assert graph_silhouette(graph, labels) == pytest.approx(expected)


def test_silhouette_takes_absent_pairs_as_far_and_leaves_outliers_out():
    dense = np.ones((5, 5))
    dense[0, 1] = dense[1, 0] = 0.2
    dense[2, 3] = dense[3, 2] = 0.4
    np.fill_diagonal(dense, 0)
    labels = np.array([0, 0, 1, 1, -1])
    sparse = csr_array(np.where(dense < 1, dense + 1e-12, 0))
    expected = silhouette_score(dense[:4, :4], labels[:4], metric='precomputed')
    assert graph_silhouette(sparse, labels) == pytest.approx(expected)
    assert graph_silhouette(sparse, np.array([0, 0, 0, -1, -1])) == 0


def test_summary_counts():
    assert cluster_summary(np.array([0, 0, 1, 1, 1, 1, 2, -1])) == dict(
        clusters=3, outliers=1, size_min=1, size_median=2.0, size_max=4
    )
    assert cluster_summary(np.array([-1, -1]))['clusters'] == 0


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(-1, 4), st.integers(0, 3)), max_size=25))
def test_clusters_that_span_cameras(pairs):
    labels = np.array([label for label, _ in pairs], int)
    camids = np.array([camid for _, camid in pairs], int)
    across = {
        label
        for label, camid in pairs
        if label >= 0 and any(x == label and c != camid for x, c in pairs)
    }
    inside = sum(label in across for label, _ in pairs)
    assert camera_summary(labels, camids) == dict(
        cross_camera_clusters=len(across),
        cross_camera_images=inside / len(pairs) if pairs else 0.0,
    )


@settings(deadline=None, max_examples=150)
@given(
    st.lists(
        st.tuples(
            st.integers(-1, 2),  # label
            st.integers(-1, 6),  # track
            st.integers(-1, 9),  # frame
        ),
        max_size=25,
    )
)
def test_what_tracks_say_of_clusters(rows):
    labels, track, frame = (np.array([r[i] for r in rows], int) for i in range(3))
    # a track is in one camera and sequence; an image in none counts nowhere
    records = dict(track=track, camid=track % 2, sequence=track // 4, frame=frame)
    images = {t: [r for r in rows if r[1] == t] for t in range(7)}
    images = {t: found for t, found in images.items() if found}
    long = [{r[0] for r in found} for found in images.values() if len(found) > 1]
    whole = [len(found) == 1 and found != {-1} for found in long]
    conflicts = []
    for a, b in combinations(sorted(images), 2):
        if (a % 2, a // 4) != (b % 2, b // 4):
            continue
        frames = [sorted(r[2] for r in images[t] if r[2] >= 0) for t in (a, b)]
        if not all(frames):
            continue
        ones, others = map(stretches, frames)
        if any(x[0] <= y[1] and y[0] <= x[1] for x in ones for y in others):
            one, other = ({r[0] for r in images[t]} - {-1} for t in (a, b))
            conflicts.append(bool(one & other))
    expected = {}
    if whole:
        expected['whole_tracks'] = pytest.approx(np.mean(whole))
    if conflicts:
        expected['conflicting_tracks'] = pytest.approx(np.mean(conflicts))
    assert track_summary(labels, records) == expected
