# SPDX-License-Identifier: Apache-2.0
import copy

import pytest
import torch
import torch.nn.functional as F
from mmengine.model import ExponentialMovingAverage
from torch import nn

from mmreid_gcl.models import (
    SelectiveMemoryHead,
    selective_contrastive_loss,
    update_memory,
)

from . import reference


@pytest.fixture
def data():
    torch.manual_seed(0)
    features = F.normalize(torch.randn(12, 4))
    labels = torch.tensor([0, 0, 0, 1, 1, 1, 2, 2, 2, -1, 2, -1])
    queries = torch.randn(6, 4)
    targets = torch.tensor([0, 0, 0, 2, 2, 2])
    return features, labels, queries, targets


def started(data, **kwargs):
    head = SelectiveMemoryHead(4, **kwargs)
    head.init_memory(*data[:2])
    return head


def test_memory_begins_as_the_means(data):
    features, labels = data[:2]
    head = started(data)
    kept = labels >= 0
    expected = reference.centroids(features[kept].tolist(), labels[kept].tolist())
    torch.testing.assert_close(head.memory, torch.tensor(expected))
    assert not head.memory.requires_grad


def test_a_new_epoch_has_another_number_of_clusters(data):
    head = started(data)
    head.init_memory(data[0], torch.arange(12))
    assert head.memory.shape == (12, 4)


def test_features_made_in_inference_mode(data):
    with torch.inference_mode():
        features = data[0].clone() + 0
    head = SelectiveMemoryHead(4)
    head.init_memory(features, data[1])
    queries = data[2].requires_grad_()
    head.loss(queries, data[3])['loss_scl'].backward()
    head.apply_update()
    assert queries.grad is not None


def test_loss_before_init(data):
    with pytest.raises(RuntimeError, match=r'init_memory.*PseudoLabelHook'):
        SelectiveMemoryHead(4).loss(data[2], data[3])


def test_wrong_width(data):
    with pytest.raises(ValueError, match=r'in_channels=5.*4 channels'):
        SelectiveMemoryHead(5).init_memory(*data[:2])


@pytest.mark.parametrize(
    'policy,loss_queries,selected',
    [
        ('selective', 'auto', True),
        ('average', 'auto', False),
        ('random', 'auto', False),
        ('selective', 'all', False),
        ('average', 'selected', True),
    ],
)
def test_loss_queries(data, policy, loss_queries, selected):
    queries, targets = data[2:]
    head = started(data, policy=policy, loss_queries=loss_queries, topk=2)
    losses = head.loss(queries, targets)
    assert list(losses) == ['loss_scl']
    arguments = queries.tolist(), targets.tolist(), head.memory.tolist(), 0.05
    if selected:
        expected = reference.selective_loss(*arguments, 2)
    else:
        expected = reference.mean_loss(*arguments)
    assert losses['loss_scl'].item() == pytest.approx(expected, rel=1e-5)


def test_loss_weight_and_temperature(data):
    queries, targets = data[2:]
    head = started(data, loss_weight=0.5, temperature=0.3)
    expected = selective_contrastive_loss(queries, targets, head.memory, 0.3, 2)
    loss = head.loss(queries, targets)['loss_scl']
    assert loss.item() == pytest.approx(0.5 * expected.item())


@pytest.mark.parametrize('policy,topk', [('selective', 2), ('average', 2)])
def test_update_comes_when_asked_for_and_once(data, policy, topk):
    queries, targets = data[2:]
    head = started(data, policy=policy, topk=topk, momentum=0.3)
    before = head.memory.clone()
    head.loss(queries, targets)
    assert torch.equal(head.memory, before)
    head.apply_update()
    expected = update_memory(before, queries, targets, 0.3, topk, policy)
    torch.testing.assert_close(head.memory, expected)
    assert not torch.equal(head.memory, before)
    after = head.memory.clone()
    head.apply_update()
    assert torch.equal(head.memory, after)


def test_loss_of_the_same_batch_does_not_see_its_update(data):
    head = started(data)
    first = head.loss(*data[2:])['loss_scl']
    second = head.loss(*data[2:])['loss_scl']
    assert torch.equal(first, second)


def test_backward_after_the_update(data):
    """The memory the loss was computed with is not written to."""
    queries = data[2].requires_grad_()
    head = started(data)
    loss = head.loss(queries, data[3])['loss_scl']
    (expected,) = torch.autograd.grad(loss, queries, retain_graph=True)
    head.apply_update()
    (after,) = torch.autograd.grad(loss, queries)
    assert torch.equal(after, expected)


@pytest.mark.parametrize('policy', ['selective', 'average'])
def test_two_batches_count_as_one(data, policy):
    """Gradient accumulation: also where both have queries of a cluster."""
    queries, targets = data[2:]
    head = started(data, policy=policy)
    before = head.memory.clone()
    head.loss(queries[:2], targets[:2])
    head.loss(queries[2:], targets[2:])
    head.apply_update()
    expected = update_memory(before, queries, targets, 0.2, 2, policy)
    torch.testing.assert_close(head.memory, expected)


def test_random_policy_is_reproducible(data):
    memories = []
    for _ in range(2):
        torch.manual_seed(5)
        head = started(data, policy='random')
        head.loss(*data[2:])
        head.apply_update()
        memories.append(head.memory)
    assert torch.equal(*memories)


@pytest.mark.parametrize('bad', [float('nan'), float('inf')])
@pytest.mark.parametrize('policy', ['selective', 'average', 'random'])
def test_a_loss_that_is_not_finite_leaves_the_memory(data, bad, policy):
    queries, targets = data[2:]
    head = started(data, policy=policy)
    before = head.memory.clone()
    broken = queries.clone()
    broken[1, 2] = bad
    head.loss(queries, targets)
    head.loss(broken, targets)
    head.apply_update()
    assert torch.equal(head.memory, before)
    head.loss(queries, targets)  # the next one counts again
    head.apply_update()
    assert not torch.equal(head.memory, before)


def test_discarded(data):
    head = started(data)
    before = head.memory.clone()
    head.loss(*data[2:])
    head.discard_update()
    head.apply_update()
    assert torch.equal(head.memory, before)


def test_a_new_memory_forgets_what_was_recorded(data):
    head = started(data)
    head.loss(*data[2:])
    head.init_memory(*data[:2])
    before = head.memory.clone()
    head.apply_update()
    assert torch.equal(head.memory, before)


def test_state_dict_has_no_memory(data):
    head = started(data)
    assert not head.state_dict()
    other = SelectiveMemoryHead(4)
    other.init_memory(data[0], torch.arange(12))
    other.load_state_dict(head.state_dict(), strict=True)
    assert other.memory.shape == (12, 4)


def test_memory_follows_the_module(data):
    head = nn.Sequential(started(data))
    assert head[0].memory.dtype == torch.float32
    head.to(torch.float64)
    assert head[0].memory.dtype == torch.float64
    head.to('meta')
    assert head[0].memory.device.type == 'meta'
    fresh = nn.Sequential(SelectiveMemoryHead(4)).to('meta')
    fresh[0].init_memory(*data[:2])  # features stay where they are computed
    assert fresh[0].memory.device.type == 'meta'


def test_deepcopy(data):
    head = started(data)
    head.loss(data[2].requires_grad_(), data[3])
    copied = copy.deepcopy(head)
    copied.apply_update()
    assert torch.equal(head.memory, started(data).memory)
    assert not torch.equal(copied.memory, head.memory)


def test_half_precision_queries_update_a_float32_memory(data):
    head = started(data)
    queries = data[2].bfloat16()
    before = head.memory.clone()
    with torch.autocast('cpu', torch.bfloat16):
        loss = head.loss(queries, data[3])['loss_scl']
        head.apply_update()
    assert loss.dtype == head.memory.dtype == torch.float32
    expected = update_memory(before, queries.float(), data[3])
    torch.testing.assert_close(head.memory, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    'kwargs,message',
    [
        (dict(policy='hard'), r"policy must be one of .*'selective'.*got 'hard'"),
        (dict(loss_queries='k'), r"loss_queries must be one of .*'auto'.*got 'k'"),
        (dict(topk=0), 'topk must be at least 1, got 0'),
        (dict(momentum=1.2), r'momentum must be in \[0, 1\], got 1.2'),
        (dict(momentum=-0.1), r'momentum must be in \[0, 1\], got -0.1'),
        (dict(temperature=0), 'temperature must be positive, got 0'),
    ],
)
def test_arguments_out_of_range(kwargs, message):
    with pytest.raises(ValueError, match=message):
        SelectiveMemoryHead(4, **kwargs)


@pytest.mark.parametrize('update_buffers', [False, True])
def test_averaged_models(data, update_buffers):
    """EMAHook copies parameters and buffers, whatever the number of clusters."""
    model = nn.Sequential(nn.Linear(4, 4), SelectiveMemoryHead(4))
    average = ExponentialMovingAverage(model, update_buffers=update_buffers)
    model[1].init_memory(*data[:2])
    average.update_parameters(model)
    average.update_parameters(model)
