# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from mmengine.model.utils import convert_sync_batchnorm
from torch import nn

from mmreid_gcl.models import EmbeddingNeck, GCLNeck
from mmreid_gcl.registry import MODELS

from . import reference


def pool_by_hand(maps, pooling):
    """(n, C, H, W) nested lists to (n, C)."""
    out = []
    for image in maps:
        row = []
        for channel in image:
            values = [v for line in channel for v in line]
            if pooling == 'avg':
                row.append(sum(values) / len(values))
            else:  # generalised mean with p = 3 over max(v, 1e-6)
                cubes = [max(v, 1e-6) ** 3 for v in values]
                row.append((sum(cubes) / len(cubes)) ** (1 / 3))
        out.append(row)
    return out


@pytest.mark.parametrize('dtype', [torch.float32, torch.float64])
@pytest.mark.parametrize('pooling', ['avg', 'gem'])
@pytest.mark.parametrize('training', [True, False])
def test_by_hand(dtype, pooling, training):
    torch.manual_seed(0)
    neck = EmbeddingNeck(5, pooling=pooling).to(dtype).train(training)
    nn.init.uniform_(neck.norm.weight, 0.5, 1.5)
    nn.init.normal_(neck.norm.running_mean)
    nn.init.uniform_(neck.norm.running_var, 0.5, 1.5)
    statistics = {}
    if not training:
        statistics = dict(
            mean=neck.norm.running_mean.tolist(), var=neck.norm.running_var.tolist()
        )
    maps = torch.randn(4, 5, 3, 2, dtype=dtype)
    rows = pool_by_hand(maps.tolist(), pooling)
    rows = reference.batch_norm(
        rows, neck.norm.weight.tolist(), [0.0] * 5, 1e-5, **statistics
    )
    expected = torch.tensor([reference.unit(row) for row in rows], dtype=dtype)
    tolerance = 2e-5 if dtype == torch.float32 else 1e-10
    out = neck(maps)
    torch.testing.assert_close(out, expected, rtol=0, atol=tolerance)
    torch.testing.assert_close(
        out.norm(dim=1), torch.ones(4, dtype=dtype), rtol=0, atol=tolerance
    )


def test_several_outputs_give_the_last():
    neck = EmbeddingNeck(3).eval()
    last = torch.randn(2, 3, 4, 2)
    expected = neck(last)
    for maps in ((torch.randn(2, 7, 8, 4), last), [last], (last,)):
        assert torch.equal(neck(maps), expected)


def test_vectors_pass_the_pooling():
    neck = EmbeddingNeck(3).eval()
    vectors = torch.randn(2, 3)
    assert torch.equal(neck.pool(vectors), vectors)
    assert torch.equal(neck(vectors), neck(vectors[:, :, None, None]))
    assert torch.equal(neck((vectors,)), neck(vectors))


def test_bias_is_frozen_at_zero():
    neck = EmbeddingNeck(3)
    assert not neck.norm.bias.requires_grad and neck.norm.weight.requires_grad
    optimizer = torch.optim.Adam(neck.parameters(), lr=0.1, weight_decay=0.1)
    neck(torch.randn(4, 3, 2, 2)).sum().backward()
    optimizer.step()
    assert torch.equal(neck.norm.bias, torch.zeros(3))
    assert not torch.equal(neck.norm.weight, torch.ones(3))


def test_a_norm_without_bias():
    neck = EmbeddingNeck(3, norm_cfg=dict(type='BN1d', affine=False)).eval()
    assert neck(torch.randn(2, 3)).shape == (2, 3)


def test_unknown_pooling():
    with pytest.raises(ValueError, match=r"\['avg', 'gem'\].*'max'"):
        EmbeddingNeck(3, pooling='max')


def test_configs_are_not_changed():
    norm_cfg = dict(type='BN1d', eps=1e-3)
    neck = EmbeddingNeck(3, norm_cfg=norm_cfg)
    assert norm_cfg == dict(type='BN1d', eps=1e-3)
    assert neck.norm.eps == 1e-3


@pytest.mark.parametrize('convert', ['torch', 'mmengine'])
def test_sync_bn_converts_the_backbone_alone(convert):
    model = nn.ModuleDict(
        dict(
            backbone=MODELS.build(dict(type='ResNet', depth=18)),
            neck=EmbeddingNeck(8),
            relation_neck=GCLNeck(8),
        )
    )
    state = {k: v.clone() for k, v in model.state_dict().items()}
    if convert == 'torch':
        model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
    else:
        model = convert_sync_batchnorm(model, 'torch')
    kinds = {
        name: type(module)
        for name, module in model.named_modules()
        if isinstance(module, nn.modules.batchnorm._BatchNorm)
    }
    own = {'neck.norm', 'relation_neck.theta.norm', 'relation_neck.phi.norm'}
    assert {n for n, kind in kinds.items() if kind is nn.BatchNorm1d} == own
    others = {kind for name, kind in kinds.items() if name not in own}
    assert others == {nn.SyncBatchNorm}
    assert list(model.state_dict()) == list(state)
