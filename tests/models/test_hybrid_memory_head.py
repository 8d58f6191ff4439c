# SPDX-License-Identifier: Apache-2.0
"""SpCL's hybrid memory by plain loops over the equations of its paper."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmreid_gcl.models import BatchImages, HybridMemoryHead


def unit(x):
    return x / x.norm()


def filled(seed, count=10, width=4, momentum=0.2, tau=0.4):
    torch.manual_seed(seed)
    features = torch.randn(count, width, dtype=torch.float64)
    labels = torch.randint(-1, 3, (count,))
    labels[:3] = torch.arange(3)
    head = HybridMemoryHead(width, momentum=momentum, temperature=tau).double()
    head.init_memory(features, labels)
    return head, features, labels


def classes_by_loops(labels):
    following, classes = max(labels.tolist()) + 1, []
    for label in labels.tolist():
        if label < 0:
            label, following = following, following + 1
        classes.append(label)
    return classes


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 1000), count=st.integers(3, 12), queries=st.integers(1, 6))
def test_loss_is_that_of_plain_loops(seed, count, queries):
    head, features, labels = filled(seed, count)
    classes = classes_by_loops(labels)
    assert head.classes.tolist() == classes
    index = torch.randint(count, (queries,))
    x = torch.randn(queries, 4, dtype=torch.float64)
    expected = 0.0
    for q, i in zip(x, index.tolist()):
        logits = []
        for z in range(max(classes) + 1):
            members = [unit(features[n]) for n in range(count) if classes[n] == z]
            centre = sum(members) / len(members)
            logits.append(float(unit(q) @ centre) / 0.4)
        total = sum(math.exp(value) for value in logits)
        expected -= math.log(math.exp(logits[classes[i]]) / total) / queries
    own = torch.tensor([classes[i] for i in index.tolist()])
    loss = head.loss(x, own, BatchImages(own, index=index))['loss_hybrid']
    assert float(loss) == pytest.approx(expected, abs=1e-10)


def test_instances_of_the_batch_move_and_centroids_with_them():
    head, _, _ = filled(1)
    expected = head.memory.clone()
    index = torch.tensor([2, 5, 2])  # one image twice, as of an outlier
    x = torch.randn(3, 4, dtype=torch.float64)
    head.loss(x, head.classes[index], BatchImages(head.classes[index], index=index))
    for q, i in zip(x, index.tolist()):
        expected[i] = unit(0.2 * expected[i] + 0.8 * unit(q))
    head.apply_update()
    assert torch.allclose(head.memory, expected, atol=1e-12)


def test_state_comes_back_bit_by_bit():
    head, _, _ = filled(2)
    index = torch.tensor([0, 1])
    x = torch.randn(2, 4, dtype=torch.float64)
    head.loss(x, head.classes[index], BatchImages(head.classes[index], index=index))
    other = HybridMemoryHead(4, momentum=0.2, temperature=0.4).double()
    other.load_memory_state(head.memory_state())
    head.apply_update()
    other.apply_update()
    for name in ('memory', 'classes', 'sizes'):
        assert torch.equal(getattr(head, name), getattr(other, name))


def test_arguments():
    with pytest.raises(ValueError, match='momentum'):
        HybridMemoryHead(4, momentum=-1)
    with pytest.raises(ValueError, match='temperature'):
        HybridMemoryHead(4, temperature=0)
