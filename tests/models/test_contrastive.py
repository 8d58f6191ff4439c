# SPDX-License-Identifier: Apache-2.0
"""Equation 7."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from mmreid_gcl.models import selective_contrastive_loss

from . import reference

# counts of queries a cluster; labels may stand in any order in a batch
BATCHES = {
    'as sampled': [0, 0, 0, 3, 3, 3, 1, 1, 1],
    'interleaved': [2, 0, 2, 0, 1, 1],
    'cluster twice': [1] * 8 + [0] * 4,  # 2K queries of cluster 1
    'K is 1': [4, 2, 0],
    'one query': [3],
    'unequal': [0, 1, 1, 2, 2, 2, 4, 4, 4, 4, 4, 4],
}


def make(labels, clusters=5, width=6, dtype=torch.float64, seed=0, scale=1.0):
    generator = torch.Generator().manual_seed(seed)
    memory = F.normalize(
        torch.randn(clusters, width, generator=generator, dtype=torch.float64)
    )
    queries = torch.randn(len(labels), width, generator=generator, dtype=torch.float64)
    queries *= scale
    return queries.to(dtype), torch.tensor(labels), memory.to(dtype)


@pytest.mark.parametrize('dtype', [torch.float32, torch.float64])
@pytest.mark.parametrize('topk', [1, 2, 4, 100])
@pytest.mark.parametrize('temperature', [0.05, 1.0])
@pytest.mark.parametrize('name', BATCHES)
def test_by_hand(name, temperature, topk, dtype):
    queries, labels, memory = make(BATCHES[name], dtype=dtype, scale=7.3)
    before = queries.clone(), memory.clone()
    loss = selective_contrastive_loss(queries, labels, memory, temperature, topk)
    expected = reference.selective_loss(
        queries.tolist(), labels.tolist(), memory.tolist(), temperature, topk
    )
    assert loss.shape == () and loss.dtype == dtype
    tolerance = 1e-5 if dtype == torch.float32 else 1e-12
    assert loss.item() == pytest.approx(expected, rel=tolerance, abs=tolerance)
    assert torch.equal(queries, before[0]) and torch.equal(memory, before[1])


def test_small_enough_for_pencil_and_paper():
    """Two clusters at right angles, tau = 1, k = 1: the harder query alone."""
    memory = torch.eye(2)
    queries = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.0, 5.0]])
    loss = selective_contrastive_loss(queries, torch.tensor([0, 0, 1]), memory, 1.0, 1)
    hard = math.log(math.exp(0.6) + math.exp(0.8)) - 0.6
    easy = math.log(1 + math.e) - 1
    assert loss.item() == pytest.approx((hard + easy) / 2, rel=1e-6)


def test_it_is_a_sum_over_k():
    """Not a mean: k equal queries give k times the loss of one."""
    query, _, memory = make([0])
    one = selective_contrastive_loss(query, torch.tensor([0]), memory, 0.05, 1)
    three = selective_contrastive_loss(
        query.expand(3, -1), torch.tensor([0, 0, 0]), memory, 0.05, 3
    )
    assert three.item() == pytest.approx(3 * one.item())


def test_defaults():
    queries, labels, memory = make(BATCHES['as sampled'])
    assert torch.equal(
        selective_contrastive_loss(queries, labels, memory),
        selective_contrastive_loss(queries, labels, memory, 0.05, 2),
    )


@pytest.mark.parametrize('name', BATCHES)
def test_all_queries(name):
    queries, labels, memory = make(BATCHES[name])
    loss = selective_contrastive_loss(queries, labels, memory, 0.05, None)
    expected = reference.mean_loss(
        queries.tolist(), labels.tolist(), memory.tolist(), 0.05
    )
    assert loss.item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize('topk', [1, 2, None])
@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
@pytest.mark.parametrize('autocast', [False, True])
def test_half_precision_queries(topk, dtype, autocast):
    """Rounded queries give what float32 gives for them: no product is rounded."""
    queries, labels, memory = make(BATCHES['unequal'], width=64, dtype=dtype)
    memory = memory.float()
    expected = selective_contrastive_loss(queries.float(), labels, memory, 0.05, topk)
    with torch.autocast('cpu', torch.bfloat16, enabled=autocast):
        loss = selective_contrastive_loss(queries, labels, memory, 0.05, topk)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)


def test_float32_queries_under_autocast():
    queries, labels, memory = make(BATCHES['unequal'], dtype=torch.float32)
    expected = selective_contrastive_loss(queries, labels, memory)
    with torch.autocast('cpu', torch.bfloat16):
        loss = selective_contrastive_loss(queries, labels, memory)
    assert torch.equal(loss, expected)


def test_gradient_to_the_selected_queries_alone():
    queries, labels, memory = make(BATCHES['cluster twice'])
    queries.requires_grad_()
    memory.requires_grad_()
    selective_contrastive_loss(queries, labels, memory, 0.05, 2).backward()
    assert memory.grad is None
    chosen = set()
    units = [reference.unit(q) for q in queries.tolist()]
    for label in (0, 1):
        order = reference.hardest_first(
            units, labels.tolist(), label, memory[label].tolist()
        )
        chosen.update(order[:2])
    moved = {i for i in range(len(labels)) if queries.grad[i].abs().max() > 0}
    assert moved == chosen


@pytest.mark.parametrize('topk', [2, None])
def test_gradcheck(topk):
    queries, labels, memory = make([0, 0, 0, 1, 1])
    queries.requires_grad_()
    assert torch.autograd.gradcheck(
        lambda q: selective_contrastive_loss(q, labels, memory, 0.3, topk), (queries,)
    )


@settings(deadline=None)
@given(
    labels=st.lists(st.integers(0, 4), min_size=1, max_size=14),
    width=st.integers(1, 9),
    topk=st.integers(1, 16),
    temperature=st.floats(0.02, 2),
    seed=st.integers(0, 10_000),
)
def test_property(labels, width, topk, temperature, seed):
    queries, tensor, memory = make(labels, width=width, seed=seed)
    loss = selective_contrastive_loss(queries, tensor, memory, temperature, topk)
    if width == 1:
        # every query is +1 or -1: which of equal ones is taken does not matter
        queries = queries.sign()
    expected = reference.selective_loss(
        queries.tolist(), labels, memory.tolist(), temperature, topk
    )
    assert loss.item() == pytest.approx(expected, rel=1e-9, abs=1e-12)
    # neither the length nor the order of the queries matters
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    again = selective_contrastive_loss(
        3.7 * queries[order], tensor[order], memory, temperature, topk
    )
    assert again.item() == pytest.approx(loss.item(), rel=1e-9, abs=1e-12)
