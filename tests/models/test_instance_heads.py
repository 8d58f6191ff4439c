# SPDX-License-Identifier: Apache-2.0
"""Instance contrast, consistency of views and neighbours' labels, by plain loops."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmreid_gcl.models import BatchImages, InstanceContrastHead, NeighbourLabelHead


def unit(x):
    return x / x.norm()


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 1000), count=st.integers(1, 9), people=st.integers(1, 4))
def test_instance_contrast_is_that_of_plain_loops(seed, count, people):
    torch.manual_seed(seed)
    x = torch.randn(count, 5, dtype=torch.float64, requires_grad=True)
    labels = torch.randint(people, (count,))
    expected = 0.0
    for i in range(count):
        cosine = [float(unit(x[i]) @ unit(y)) / 0.2 for y in x]
        same = [cosine[j] for j in range(count) if labels[j] == labels[i] and j != i]
        other = [cosine[j] for j in range(count) if labels[j] != labels[i]]
        if same:
            top = math.exp(min(same))
            bottom = top + sum(map(math.exp, other))
            expected -= math.log(top / bottom) / count
    loss = InstanceContrastHead(0.2, loss_weight=3.0).loss(x, labels)['loss_instance']
    assert float(loss.detach()) == pytest.approx(3 * expected, abs=1e-10)
    loss.backward()
    assert torch.isfinite(x.grad).all()


def test_instance_contrast_in_half_precision_is_a_float32_loss():
    x = torch.randn(6, 4).half()
    loss = InstanceContrastHead().loss(x, torch.tensor([0, 0, 1, 1, 2, 2]))
    assert loss['loss_instance'].dtype == torch.float32
    for wrong in (
        dict(temperature=0),
        dict(consistency_temperature=-1),
        dict(consistency=-0.1),
    ):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            InstanceContrastHead(**wrong)


@settings(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 1000),
    count=st.integers(1, 8),
    temperature=st.sampled_from([0.05, 0.4, 3.0]),
)
def test_consistency_of_two_views_is_that_of_plain_loops(seed, count, temperature):
    torch.manual_seed(seed)
    strong = torch.randn(count, 5, dtype=torch.float64, requires_grad=True)
    weak = torch.randn(count, 5, requires_grad=True)  # not of the same dtype
    labels = torch.zeros(count, dtype=torch.int64)
    w = [unit(row.detach().double()) for row in weak]
    expected = 0.0
    for i in range(count):
        q = [math.exp(float(w[i] @ key) / temperature) for key in w]
        p = [math.exp(float(unit(strong[i]) @ key) / temperature) for key in w]
        for a, b in zip(q, p):
            share, other = a / sum(q), b / sum(p)
            expected += share * math.log(share / other) / count
    head = InstanceContrastHead(
        loss_weight=2.0, consistency=3.0, consistency_temperature=temperature
    )
    assert head.needs == ('weak',) and InstanceContrastHead().needs == ()
    losses = head.loss(strong, labels, BatchImages(labels, weak=weak))
    found = float(losses['loss_consistency'].detach())
    assert found == pytest.approx(6 * expected, rel=1e-5, abs=1e-6)
    plain = InstanceContrastHead(loss_weight=2.0).loss(strong, labels)
    assert losses['loss_instance'] == plain['loss_instance'] and len(plain) == 1
    with pytest.raises(RuntimeError, match='weak views'):
        head.loss(strong, labels)
    losses['loss_consistency'].backward()
    assert weak.grad is None and torch.isfinite(strong.grad).all()


def test_equal_views_are_consistent():
    x = torch.randn(6, 4)
    loss = InstanceContrastHead(consistency=1.0).loss(
        x.half(), labels := torch.arange(6), BatchImages(labels, weak=x.half())
    )['loss_consistency']
    assert loss.dtype == torch.float32
    assert float(loss) == pytest.approx(0, abs=1e-6)


@settings(deadline=None, max_examples=30)
@given(
    seed=st.integers(0, 1000),
    count=st.integers(3, 12),
    near=st.integers(1, 6),
    share=st.sampled_from([0.0, 0.3, 1.0]),
)
def test_soft_labels_are_those_of_plain_loops(seed, count, near, share):
    torch.manual_seed(seed)
    features = torch.randn(count, 4)
    labels = torch.randint(-1, 3, (count,))
    labels[:3] = torch.arange(3)
    head = NeighbourLabelHead(4, near, share, temperature=0.3)
    head.init_memory(features, labels)
    index = torch.randint(3, (5,))
    queries = torch.randn(5, 4)
    expected = 0.0
    for q, i in zip(queries, index.tolist()):
        others = [j for j in range(count) if j != i]
        others.sort(key=lambda j: -float(unit(features[i]) @ unit(features[j])))
        asked = [int(labels[j]) for j in others[:near] if labels[j] >= 0]
        logits = [float(unit(q) @ centre) / 0.3 for centre in head.memory]
        total = math.log(sum(map(math.exp, logits)))
        own = total - logits[labels[i]]
        found = [total - logits[label] for label in asked]
        soft = sum(found) / len(found) if found else own
        expected += ((1 - share) * own + share * soft) / 5
    images = BatchImages(labels[index], index=index)
    loss = head.loss(queries, labels[index], images)['loss_soft']
    assert float(loss) == pytest.approx(expected, rel=1e-4, abs=1e-5)


def test_soft_labels_are_of_all_queries():
    with pytest.raises(TypeError, match='loss_queries'):
        NeighbourLabelHead(8, loss_queries='selected')


def test_soft_labels_travel_with_the_memory():
    torch.manual_seed(0)
    head, other = NeighbourLabelHead(4, 2), NeighbourLabelHead(4, 2)
    head.init_memory(torch.randn(6, 4), torch.tensor([0, 0, 1, 1, 2, -1]))
    before = head.memory.clone()
    queries, index = torch.randn(2, 4), torch.tensor([0, 3])
    head.loss(queries, torch.tensor([0, 1]), BatchImages(index, index=index))
    head.apply_update()
    assert not torch.equal(head.memory, before)
    other.load_memory_state(head.memory_state())
    assert torch.equal(other.neighbour_labels, head.neighbour_labels)
    assert head.neighbour_labels.shape == (6, 2)
    for wrong in (dict(neighbours=0), dict(share=1.5)):
        with pytest.raises(ValueError, match='neighbours must be'):
            NeighbourLabelHead(4, **wrong)
