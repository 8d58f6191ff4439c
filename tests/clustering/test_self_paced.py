# SPDX-License-Identifier: Apache-2.0
"""SpCL's reliability criterion by plain loops."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmreid_gcl.clustering import SelfPacedClusterer, dbscan_on_graph
from mmreid_gcl.clustering.clusterers.self_paced import group_overlap
from mmreid_gcl.clustering.k_reciprocal import k_reciprocal_jaccard


def groups_of(labels):
    """The set of images that each image is grouped with."""
    return [
        {j for j in range(len(labels)) if labels[j] == label} if label >= 0 else {i}
        for i, label in enumerate(labels)
    ]


def overlap(one, other):
    return [len(a & b) / len(a | b) for a, b in zip(one, other)]


@settings(deadline=None, max_examples=50)
@given(
    st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=20)
)
def test_overlap_is_that_of_sets(pairs):
    labels, others = np.array(pairs).T
    expected = overlap(groups_of(labels), groups_of(others))
    np.testing.assert_allclose(group_overlap(labels, others), expected)


def people(seed, spread):
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(8, 12)).repeat(9, axis=0)
    return (centres + spread * rng.normal(size=centres.shape)).astype(np.float32)


def reference(features, threshold, eps=0.5, gap=0.1):
    """Labels and the threshold, by sets."""
    graph = k_reciprocal_jaccard(features, 8, 3, eps + gap)
    labels, loose, tight = (
        dbscan_on_graph(graph, radius, 3) for radius in (eps, eps + gap, eps - gap)
    )
    own = groups_of(labels)
    independent = overlap(own, groups_of(loose))
    compact = overlap(own, groups_of(tight))
    clusters = range(labels.max() + 1)
    scores = [max(s for s, x in zip(independent, labels) if x == c) for c in clusters]
    if threshold is None:
        ordered = sorted(scores, reverse=True)
        threshold = ordered[min(len(ordered) - 1, round(0.9 * len(ordered)))]
    kept = [-1] * len(labels)
    for i, label in enumerate(labels):
        if label < 0 or scores[label] < threshold:
            continue
        best = max(s for s, x in zip(compact, labels) if x == label)
        if compact[i] >= best:
            kept[i] = int(label)
    return kept, threshold, labels


def same_partition(one, other):
    pairs = set(zip(one, other))
    return len(pairs) == len(set(one)) == len(set(other))


def test_labels_are_those_of_sets():
    clusterer = SelfPacedClusterer(0.5, 0.1, 3, k1=8, k2=3)
    threshold, dropped = None, 0
    for seed, spread in enumerate((0.5, 0.4, 0.3, 0.6)):
        features = people(seed, spread)
        expected, threshold, plain = reference(features, threshold)
        found = clusterer(features)
        assert same_partition(found.tolist(), expected)
        assert clusterer.state() == dict(threshold=pytest.approx(threshold))
        dropped += int(((plain >= 0) & (found < 0)).sum())
    assert dropped > 0  # else the criterion was never at work


def test_the_threshold_is_resumed():
    first = SelfPacedClusterer(0.5, 0.1, 3, k1=8, k2=3)
    first(people(0, 0.5))
    resumed = SelfPacedClusterer(0.5, 0.1, 3, k1=8, k2=3)
    resumed.resume(np.zeros(3), first.state())
    later = people(1, 0.45)
    np.testing.assert_array_equal(first(later), resumed(later))


def test_arguments():
    for wrong in (dict(eps_gap=0.0), dict(eps_gap=0.7), dict(independent=0.0)):
        with pytest.raises(ValueError, match='eps_gap'):
            SelfPacedClusterer(**{'eps': 0.3, **wrong})
