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


#: Without weights: arguments of mmpretrain's VisionTransformer.
TRANSFORMERS = dict(
    dinov2=dict(patch_size=14, img_size=(56, 28), layer_scale_init_value=1e-5),
    clip=dict(
        patch_size=16,
        img_size=(64, 32),
        pre_norm=True,
        layer_cfgs=dict(act_cfg=dict(type='mmpretrain.QuickGELU')),
    ),
)


@pytest.mark.parametrize('kind', list(TRANSFORMERS))
def test_tokens_of_a_transformer(kind):
    torch.manual_seed(0)
    arch = dict(embed_dims=24, num_layers=2, num_heads=2, feedforward_channels=48)
    cfg = dict(type='VisionTransformer', arch=arch, **TRANSFORMERS[kind])
    images = torch.rand(3, 3, *cfg['img_size'])
    backbones = {
        out: MODELS.build(dict(cfg, out_type=out))
        for out in ('raw', 'cls_token', 'avg_featmap')
    }
    for backbone in backbones.values():
        backbone.load_state_dict(backbones['raw'].state_dict(), strict=False)
        backbone.eval()
    with torch.no_grad():
        found = {out: backbone(images) for out, backbone in backbones.items()}
    assert found['raw'][-1].shape == (3, 9, 24)  # 4 x 2 patches and the class
    by_class = EmbeddingNeck(24, tokens='class').pool(found['raw'])
    assert torch.equal(by_class, found['cls_token'][-1])
    tokens = found['raw'][-1].tolist()
    by_hand = [
        [sum(row[c] for row in image[1:]) / 8 for c in range(24)] for image in tokens
    ]
    by_mean = EmbeddingNeck(24, tokens='mean').pool(found['raw'])
    assert torch.allclose(by_mean, torch.tensor(by_hand), atol=1e-5)
    assert not torch.allclose(by_mean, by_class, atol=1e-2)
    with pytest.raises(ValueError, match=r"\(3, 9, 24\).*model\.neck\.tokens='class'"):
        EmbeddingNeck(24)(found['raw'])


def test_tokens_before_those_of_patches():
    """A class token and two registers; none at all."""
    x = torch.arange(2 * 5 * 3.0).view(2, 5, 3)
    neck = EmbeddingNeck(3, tokens='mean', num_prefix_tokens=3)
    assert torch.equal(neck.pool(x), (x[:, 3] + x[:, 4]) / 2)
    neck = EmbeddingNeck(3, tokens='class', num_prefix_tokens=3)
    assert torch.equal(neck.pool((x,)), x[:, 0])
    neck = EmbeddingNeck(3, tokens='mean', num_prefix_tokens=0)
    assert torch.allclose(neck.pool(x), sum(x.unbind(1)) / 5)


@pytest.mark.parametrize(
    'name, options, neck',
    [
        ('vit_tiny_patch16_224', dict(img_size=(64, 32)), dict(tokens='class')),
        (
            'vit_small_patch14_reg4_dinov2',
            dict(img_size=(56, 28), depth=1),
            dict(tokens='mean', num_prefix_tokens=5),
        ),
        (
            'vit_base_patch32_clip_224',
            dict(img_size=(64, 32), depth=1),
            dict(tokens='class'),
        ),
        ('swin_tiny_patch4_window7_224', dict(img_size=(64, 32)), {}),
        ('resnet18', dict(features_only=True), {}),
    ],
)
def test_backbones_of_timm(name, options, neck):
    pytest.importorskip('timm')
    backbone = MODELS.build(dict(type='TIMMBackbone', model_name=name, **options))
    backbone.eval()
    images = torch.rand(2, 3, *options.get('img_size', (64, 32)))
    width = backbone(images)[-1].shape[1 if name == 'resnet18' else -1]
    with torch.no_grad():
        maps = backbone(images)[-1]
        pooled = EmbeddingNeck(width, **neck).pool(backbone(images))
    prefix = neck.get('num_prefix_tokens', 1)
    if neck:
        assert backbone.timm_model.num_prefix_tokens == prefix
    if neck.get('tokens') == 'class':
        expected = maps[:, 0]
    elif neck:
        expected = maps[:, prefix:].mean(1)
    else:
        expected = maps.mean((2, 3) if name == 'resnet18' else (1, 2))
    torch.testing.assert_close(pooled, expected)


def test_channels_last_and_nested_outputs():
    neck = EmbeddingNeck(3).eval()
    x = torch.randn(2, 3, 4, 5)
    expected = neck(x)
    for maps in (x.permute(0, 2, 3, 1), [(x,)], ((torch.randn(2, 9, 4, 4),), [x])):
        assert torch.allclose(neck(maps), expected, atol=1e-6)
    # as many rows as channels: that is the usual order
    square = torch.randn(2, 3, 4, 3)
    assert torch.equal(neck.pool(square), square.mean((2, 3)))


@pytest.mark.parametrize(
    'shape', [(2, 4), (2, 4, 5, 6), (2, 5, 4), (2, 1, 3), (2, 3, 4, 5, 6), (3,)]
)
def test_a_shape_that_is_not_understood_is_named(shape):
    with pytest.raises(ValueError, match='shape') as caught:
        EmbeddingNeck(3, tokens='mean').pool((torch.zeros(shape),))
    assert str(shape) in str(caught.value)
    assert 'model.neck.in_channels = 3' in str(caught.value)


def test_what_is_no_tensor_is_named():
    with pytest.raises(TypeError, match='is a dict; expected a tensor'):
        EmbeddingNeck(3).pool(({'x': torch.zeros(2, 3)},))
    with pytest.raises(TypeError, match='is a tuple'):
        EmbeddingNeck(3).pool(())


@pytest.mark.parametrize(
    'settings', [dict(tokens='cls'), dict(tokens='class', num_prefix_tokens=0)]
)
def test_tokens_are_checked_when_built(settings):
    with pytest.raises(ValueError, match='tokens'):
        EmbeddingNeck(3, **settings)
