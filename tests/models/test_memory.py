# SPDX-License-Identifier: Apache-2.0
"""How the memory begins, and equation 6."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from mmreid_gcl.models import update_memory
from mmreid_gcl.models.functional import cluster_centroids

from . import reference
from .test_contrastive import BATCHES, make

TOLERANCE = {torch.float32: 1e-6, torch.float64: 1e-12}


def update_by_hand(memory, queries, labels, momentum, topk, policy):
    memory, queries = memory.tolist(), queries.tolist()
    if policy == 'average':
        return reference.average_update(memory, queries, labels, momentum)
    if policy == 'sequential':
        return reference.sequential_update(memory, queries, labels, momentum)
    return reference.selective_update(memory, queries, labels, momentum, topk)


@pytest.mark.parametrize('dtype', [torch.float32, torch.float64])
@pytest.mark.parametrize('momentum', [0.0, 0.1, 0.2, 0.9])
@pytest.mark.parametrize(
    'policy,topk',
    [
        *(('selective', 1), ('selective', 2), ('selective', 4)),
        *(('average', 2), ('sequential', 2)),
    ],
)
@pytest.mark.parametrize('name', BATCHES)
def test_by_hand(name, policy, topk, momentum, dtype):
    queries, labels, memory = make(BATCHES[name], dtype=dtype, scale=3.0)
    before = memory.clone()
    updated = update_memory(memory, queries, labels, momentum, topk, policy)
    expected = torch.tensor(
        update_by_hand(memory, queries, labels.tolist(), momentum, topk, policy),
        dtype=dtype,
    )
    torch.testing.assert_close(updated, expected, rtol=0, atol=TOLERANCE[dtype])
    assert torch.equal(memory, before)
    absent = sorted(set(range(5)) - set(labels.tolist()))
    assert torch.equal(updated[absent], before[absent])
    assert updated.dtype == dtype


def test_ranking_is_by_the_memory_given():
    """Ranking again after the first step would take another second query.

    Queries at 80, 75 and -70 degrees from the centroid: 75 is the second
    hardest, but -70 is the hardest for the centroid moved towards 80.
    """
    memory = torch.tensor([[1.0, 0.0]], dtype=torch.float64)
    angles = torch.deg2rad(torch.tensor([80.0, 75.0, -70.0], dtype=torch.float64))
    queries = torch.stack([angles.cos(), angles.sin()], dim=1)
    labels = torch.zeros(3, dtype=torch.long)
    once = update_memory(memory, queries, labels, 0.2, 1)
    assert queries[2] @ once[0] < queries[1] @ once[0]
    twice = update_memory(memory, queries, labels, 0.2, 2)
    expected = reference.move(
        reference.move([1.0, 0.0], queries[0].tolist(), 0.2), queries[1].tolist(), 0.2
    )
    torch.testing.assert_close(
        twice, torch.tensor([expected], dtype=torch.float64), rtol=0, atol=1e-12
    )


def test_from_the_hardest_on():
    """The hardest comes first, so the second hardest weighs more."""
    memory = torch.tensor([[1.0, 0.0, 0.0]])
    queries = torch.tensor([[0.8, 0.6, 0.0], [0.6, 0.0, 0.8]])
    updated = update_memory(memory, queries, torch.tensor([0, 0]), 0.2, 2)
    first = F.normalize(0.2 * memory + 0.8 * queries[1])
    expected = F.normalize(0.2 * first + 0.8 * queries[0])
    torch.testing.assert_close(updated, expected)


def test_defaults():
    queries, labels, memory = make(BATCHES['as sampled'])
    assert torch.equal(
        update_memory(memory, queries, labels),
        update_memory(memory, queries, labels, 0.2, 2, 'selective'),
    )


def test_equally_similar_queries_go_by_position():
    memory = torch.tensor([[1.0, 0.0, 0.0]])
    queries = torch.tensor([[0.6, 0.8, 0.0], [0.6, 0.0, 0.8]])
    for order in ([0, 1], [1, 0]):
        updated = update_memory(memory, queries[order], torch.tensor([0, 0]), 0.5, 1)
        expected = F.normalize(0.5 * memory + 0.5 * queries[order[:1]])
        torch.testing.assert_close(updated, expected)


def test_equal_queries_are_each_a_step():
    """Eight copies of one image (a cluster smaller than K) still make k steps."""
    memory = torch.tensor([[1.0, 0.0]])
    queries = torch.tensor([[0.0, 1.0]]).expand(8, 2)
    updated = update_memory(memory, queries, torch.zeros(8, dtype=torch.long), 0.5, 2)
    once = F.normalize(torch.tensor([[0.5, 0.5]]))
    expected = F.normalize(0.5 * once + 0.5 * queries[:1])
    torch.testing.assert_close(updated, expected)


def test_random_takes_one_member_of_each_cluster():
    labels = BATCHES['unequal']
    queries, tensor, memory = make(labels)
    units = F.normalize(queries)
    drawn = [set() for _ in range(5)]
    for seed in range(120):
        torch.manual_seed(seed)
        updated = update_memory(memory, queries, tensor, 0.2, 2, 'random')
        torch.manual_seed(seed)
        again = update_memory(memory, queries, tensor, 0.2, 2, 'random')
        assert torch.equal(updated, again)
        for label in set(labels):
            candidates = [
                i
                for i in reference.members(labels, label)
                if torch.allclose(
                    updated[label],
                    F.normalize(0.2 * memory[label] + 0.8 * units[i], dim=0),
                    rtol=0,
                    atol=1e-12,
                )
            ]
            assert len(candidates) == 1
            drawn[label].update(candidates)
        assert torch.equal(updated[3], memory[3])
    for label in set(labels):  # and all members have their turn
        assert drawn[label] == set(reference.members(labels, label))


@pytest.mark.parametrize('policy', ['hardest', '', 'Selective'])
def test_unknown_policy(policy):
    queries, labels, memory = make([0, 1])
    with pytest.raises(ValueError, match=r"'selective', 'average', 'random'.*got"):
        update_memory(memory, queries, labels, policy=policy)


@pytest.mark.parametrize('policy', ['selective', 'average'])
@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_precision_queries(policy, dtype):
    queries, labels, memory = make(BATCHES['unequal'], width=32, dtype=dtype)
    memory = memory.float()
    expected = update_memory(memory, queries.float(), labels, policy=policy)
    with torch.autocast('cpu', torch.bfloat16):
        updated = update_memory(memory, queries, labels, policy=policy)
    assert updated.dtype == torch.float32
    torch.testing.assert_close(updated, expected, rtol=0, atol=1e-6)


def test_no_gradient():
    queries, labels, memory = make([0, 0, 1])
    updated = update_memory(memory.requires_grad_(), queries.requires_grad_(), labels)
    assert not updated.requires_grad


@settings(deadline=None)
@given(
    labels=st.lists(st.integers(0, 4), min_size=1, max_size=14),
    width=st.integers(2, 9),
    topk=st.integers(1, 16),
    momentum=st.floats(0, 0.99),
    policy=st.sampled_from(['selective', 'average', 'random']),
    seed=st.integers(0, 10_000),
)
def test_property(labels, width, topk, momentum, policy, seed):
    queries, tensor, memory = make(labels, width=width, seed=seed)
    before = memory.clone(), queries.clone()
    updated = update_memory(memory, queries, tensor, momentum, topk, policy)
    assert torch.equal(memory, before[0]) and torch.equal(queries, before[1])
    ones = torch.ones(5, dtype=torch.float64)
    torch.testing.assert_close(updated.norm(dim=1), ones, rtol=0, atol=1e-9)
    for label in set(range(5)) - set(labels):
        assert torch.equal(updated[label], memory[label])
    if policy == 'random':
        return
    expected = update_by_hand(memory, queries, labels, momentum, topk, policy)
    torch.testing.assert_close(
        updated, torch.tensor(expected, dtype=torch.float64), rtol=0, atol=1e-8
    )


@pytest.mark.parametrize('dtype', [torch.float32, torch.float64])
@pytest.mark.parametrize('labels', [[0, 0, 0], [2, 1, 0, 1, 2, 2], [1, 0]])
def test_centroids_by_hand(labels, dtype):
    queries, tensor, _ = make(labels, dtype=dtype)
    expected = reference.centroids(queries.tolist(), labels)
    torch.testing.assert_close(
        cluster_centroids(queries, tensor),
        torch.tensor(expected, dtype=dtype),
        rtol=0,
        atol=TOLERANCE[dtype],
    )


def test_centroids_without_outliers():
    labels = [-1, 1, 0, -1, 1, 0, 0]
    queries, tensor, _ = make(labels)
    kept = [i for i, label in enumerate(labels) if label >= 0]
    expected = reference.centroids(
        queries[kept].tolist(), [label for label in labels if label >= 0]
    )
    torch.testing.assert_close(
        cluster_centroids(queries, tensor), torch.tensor(expected, dtype=torch.float64)
    )


def test_centroid_is_the_mean_of_features_as_they_are():
    """Longer features weigh more: the mean is normalised, not the features."""
    features = torch.tensor([[3.0, 0.0], [0.0, 1.0]])
    (centroid,) = cluster_centroids(features, torch.tensor([0, 0]))
    torch.testing.assert_close(centroid, F.normalize(torch.tensor([3.0, 1.0]), dim=0))


def test_a_gap():
    with pytest.raises(ValueError, match=r'Cluster 1 has no image.*without gaps'):
        cluster_centroids(torch.randn(3, 2), torch.tensor([0, 2, -1]))


def test_no_cluster():
    with pytest.raises(ValueError, match='No image is in a cluster'):
        cluster_centroids(torch.randn(2, 2), torch.tensor([-1, -1]))
