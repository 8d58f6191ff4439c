# SPDX-License-Identifier: Apache-2.0
"""Batch norm over sub-batches is batch norm of each, one after the other."""

import copy

import pytest
import torch
from torch import nn

from mmreid_gcl.models import SubBatchNorm2d
from mmreid_gcl.models.sub_batch_norm import use_sub_batches
from mmreid_gcl.registry import MODELS

from .tiny import model_cfg


def filled(channels=3):
    torch.manual_seed(0)
    norm = nn.BatchNorm2d(channels, momentum=0.3).double()
    for tensor in (norm.weight, norm.bias, norm.running_mean, norm.running_var):
        nn.init.uniform_(tensor, 0.5, 1.5)
    return norm


@pytest.mark.parametrize(
    'memory_format', [torch.contiguous_format, torch.channels_last]
)
@pytest.mark.parametrize(('images', 'samples'), [(12, 4), (12, 3), (4, 4), (6, 2)])
def test_is_batch_norm_of_each_sub_batch(images, samples, memory_format):
    plain = filled()
    net = use_sub_batches(nn.Sequential(copy.deepcopy(plain)), samples)
    assert type(net[0]) is SubBatchNorm2d
    x = torch.randn(images, 3, 5, 2, dtype=torch.float64)
    x = x.to(memory_format=memory_format).requires_grad_()
    own = x.detach().clone().requires_grad_()
    norms = [copy.deepcopy(plain) for _ in range(images // samples)]
    parts = [norm(part) for norm, part in zip(norms, own.split(samples))]
    out, expected = net(x), torch.cat(parts)
    target = torch.randn_like(expected)
    (out * target).sum().backward()
    (expected * target).sum().backward()
    assert torch.allclose(out, expected, atol=1e-12)
    assert torch.allclose(x.grad, own.grad, atol=1e-12)
    for name in ('weight', 'bias'):
        total = sum(getattr(norm, name).grad for norm in norms)
        assert torch.allclose(getattr(net[0], name).grad, total, atol=1e-12)
    for name in ('running_mean', 'running_var'):
        mean = sum(getattr(norm, name) for norm in norms) / len(norms)
        assert torch.allclose(getattr(net[0], name), mean, atol=1e-12)
    assert net[0].num_batches_tracked == 1
    net.eval(), plain.load_state_dict(net[0].state_dict()), plain.eval()
    assert torch.equal(net(x), plain(x))


def test_other_batches_are_refused():
    net = use_sub_batches(nn.Sequential(nn.BatchNorm2d(2)), 4)
    with pytest.raises(ValueError, match=r'samples_per_bn=4.*6 images'):
        net(torch.zeros(6, 2, 1, 1))
    with pytest.raises(ValueError, match='at least 1'):
        use_sub_batches(net, 0)


def test_of_a_model():
    cfg = model_cfg(samples_per_bn=2)
    model, plain = MODELS.build(cfg), MODELS.build(model_cfg())
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    assert norms and {type(norm) for norm in norms} == {SubBatchNorm2d}
    assert model.state_dict().keys() == plain.state_dict().keys()
    assert not any(isinstance(m, SubBatchNorm2d) for m in plain.modules())
