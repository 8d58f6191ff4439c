# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import torch
import torchvision
from torch import nn

from mmreid_gcl.models import EmbeddingNeck
from mmreid_gcl.models.key_mapping import SOURCES, convert_state_dict
from mmreid_gcl.registry import MODELS


def load(model: nn.Module, converted: dict, prefix: str = 'backbone.') -> nn.Module:
    weights = {
        key.removeprefix(prefix): value
        for key, value in converted.items()
        if key.startswith(prefix)
    }
    model.load_state_dict(weights, strict=True)
    model.eval()  # mmpretrain's returns nothing
    return model


@pytest.fixture
def resnet():
    torch.manual_seed(0)
    return torchvision.models.resnet18(weights=None).eval()


def ours(depth=18):
    return MODELS.build(
        dict(type='mmpretrain.ResNet', depth=depth, strides=(1, 2, 2, 2))
    )


def trunk(resnet, x, relu=True):
    x = resnet.bn1(resnet.conv1(x))
    x = resnet.maxpool(x.relu() if relu else x)
    return resnet.layer4(resnet.layer3(resnet.layer2(resnet.layer1(x))))


def test_torchreid_computes_the_same(resnet):
    checkpoint = {'state_dict': resnet.state_dict(), 'epoch': 3}
    checkpoint['state_dict']['classifier.weight'] = torch.zeros(2)
    model = load(ours(), convert_state_dict(checkpoint, 'torchreid'))
    x = torch.randn(2, 3, 64, 32)
    torch.testing.assert_close(model(x)[-1], trunk(resnet, x))


def test_fast_reid_computes_the_same_and_keeps_the_neck(resnet):
    weights = {
        f'backbone.{k}': v for k, v in resnet.state_dict().items() if k[:2] != 'fc'
    }
    weights['heads.bottleneck.0.weight'] = torch.ones(512)
    weights['heads.weight'] = torch.ones(7, 512)
    converted = convert_state_dict({'model': weights}, 'fast-reid')
    assert 'neck.norm.weight' in converted
    assert not any('heads' in key for key in converted)
    model = load(ours(), converted)
    x = torch.randn(2, 3, 64, 32)
    torch.testing.assert_close(model(x)[-1], trunk(resnet, x))


def test_cluster_contrast_takes_its_sequential_apart(resnet):
    base = nn.Sequential(
        resnet.conv1,
        resnet.bn1,
        resnet.maxpool,
        resnet.layer1,
        resnet.layer2,
        resnet.layer3,
        resnet.layer4,
    )
    theirs = nn.ModuleDict(dict(base=base, feat_bn=nn.BatchNorm1d(512)))
    weights = {f'module.{k}': v for k, v in theirs.state_dict().items()}
    converted = convert_state_dict({'state_dict': weights}, 'cluster-contrast')
    assert {'neck.norm.weight', 'neck.norm.running_mean'} <= set(converted)
    model = load(ours(), converted)
    x = torch.randn(2, 3, 64, 32)
    torch.testing.assert_close(model(x)[-1], trunk(resnet, x))


def test_mobilenet_v2_computes_the_same():
    torch.manual_seed(0)
    theirs = torchvision.models.mobilenet_v2(weights=None).eval()
    converted = convert_state_dict(theirs.state_dict(), 'torchvision-mobilenet-v2')
    model = MODELS.build(dict(type='mmpretrain.MobileNetV2', out_indices=(7,)))
    x = torch.randn(2, 3, 64, 32)
    torch.testing.assert_close(load(model, converted)(x)[-1], theirs.features(x))


def fast_reid(resnet, **heads):
    weights = {
        f'backbone.{k}': v for k, v in resnet.state_dict().items() if k[:2] != 'fc'
    }
    return {**weights, **{k.replace('__', '.'): v for k, v in heads.items()}}


@pytest.mark.parametrize('name', ['heads.bottleneck.0', 'heads.bnneck'])
def test_the_bnneck_of_old_and_new_fast_reid_files(resnet, name):
    norm = nn.BatchNorm1d(512)
    nn.init.uniform_(norm.weight)
    heads = {f'{name}.{k}': v for k, v in norm.state_dict().items()}
    heads.update({'heads.classifier.weight': torch.ones(7, 512)})
    heads.update({'heads.pool_layer.p': torch.full((1,), 2.5)})
    heads.update(pixel_mean=torch.zeros(1, 3, 1, 1), pixel_std=torch.ones(1, 3, 1, 1))
    converted = convert_state_dict({'model': fast_reid(resnet, **heads)}, 'fast-reid')
    neck = EmbeddingNeck(512, pooling='gem')
    mine = {k[5:]: v for k, v in converted.items() if k.startswith('neck.')}
    neck.load_state_dict(mine, strict=True)
    assert torch.equal(neck.norm.weight, norm.weight) and neck.pooling.p.item() == 2.5
    assert {key.partition('.')[0] for key in converted} == {'backbone', 'neck'}


def linear_norm(name):
    """A layer as OSNet and others of torchreid name theirs."""
    norm = {f'{name}.bn.{k}': v for k, v in nn.BatchNorm2d(4).state_dict().items()}
    return {f'{name}.conv.weight': torch.ones(4, 3, 7, 7), **norm}


TRANSREID = {
    'base.cls_token': torch.zeros(1, 1, 8),
    'base.blocks.0.attn.qkv.weight': torch.zeros(24, 8),
    'bottleneck.weight': torch.ones(8),
    'classifier.weight': torch.ones(7, 8),
}


@pytest.mark.parametrize('source', list(SOURCES))
@pytest.mark.parametrize(
    ('weights', 'first'),
    [
        ({**linear_norm('conv1'), **linear_norm('conv2.0.conv1')}, 'conv1.conv.weight'),
        (TRANSREID, 'base.cls_token'),
        ({f'module.{k}': v for k, v in TRANSREID.items()}, 'base.cls_token'),
        ({'conv1.weight': torch.ones(4, 3, 7, 7)}, 'conv1.weight'),
        ({'features.0.0.weight': torch.ones(4, 3, 3, 3)}, 'features.0.0.weight'),
        ({'base.conv1.weight': torch.ones(4, 3, 7, 7)}, 'base.conv1.weight'),
        ({'base.7.weight': torch.ones(4)}, 'base.7.weight'),
        ({'backbone.cls_token': torch.ones(4)}, 'backbone.cls_token'),
        ({'epoch': 3}, 'epoch'),
        ({}, 'nothing at all'),
    ],
)
def test_foreign_files_are_refused(weights, first, source):
    with pytest.raises(ValueError) as caught:
        convert_state_dict(weights, source)
    message = str(caught.value)
    assert f'no file of {source!r}: expected the keys ' in message
    assert first in message.partition('found ')[2]


@pytest.mark.parametrize('other', ['mobilenet_v3_small', 'efficientnet_b0', 'vgg11_bn'])
def test_other_networks_with_features_are_refused(other):
    """Not renamed by position as far as their layers go."""
    theirs = torchvision.models.get_model(other, weights=None)
    with pytest.raises(ValueError, match=r'104 layers.*found .features\.0\.'):
        convert_state_dict(theirs.state_dict(), 'torchvision-mobilenet-v2')


def test_a_resnet_with_more_layers_is_refused(resnet):
    """What this one does not have must not be dropped in silence."""
    weights = fast_reid(resnet, backbone__NL_2__0__g__weight=torch.ones(4, 8, 1, 1))
    with pytest.raises(ValueError, match=r"found 'backbone\.NL_2\.0\.g\.weight'"):
        convert_state_dict(weights, 'fast-reid')
    embedding = {'heads.bottleneck.0.weight': torch.ones(256, 512, 1, 1)}
    with pytest.raises(ValueError, match=r"found 'heads\.bottleneck\.0\.weight'"):
        convert_state_dict(fast_reid(resnet, **embedding), 'fast-reid')
    weights = {**resnet.state_dict(), 'feat.weight': torch.ones(256, 512)}
    with pytest.raises(ValueError, match=r"found 'feat\.weight'"):
        convert_state_dict(weights, 'torchreid')


def test_the_source_that_fits_is_named(resnet):
    for source in set(SOURCES) - {'fast-reid'}:
        with pytest.raises(ValueError, match="It is a file of 'fast-reid'"):
            convert_state_dict(fast_reid(resnet), source)


def test_instance_norms_are_kept():
    theirs = MODELS.build(dict(type='mmreid_gcl.IBNResNet', depth=50))
    converted = convert_state_dict(theirs.state_dict(), 'torchreid')
    assert 'backbone.layer1.0.bn1.IN.weight' in converted
    load(theirs, converted)


def test_the_tool(tmp_path, resnet, capsys):
    from tools.model_converters.convert_weights import main

    source, out = tmp_path / 'a.pth', tmp_path / 'out' / 'b.pth'
    content = {'state_dict': resnet.state_dict(), 'best_mAP': np.float64(0.8)}
    torch.save(content, source)  # cluster-contrast and others keep such scores
    assert main([str(source), str(out), '--source=torchreid']) == 0
    written = torch.load(out, weights_only=True)['state_dict']
    assert set(written) == {
        f'backbone.{k}' for k in content['state_dict'] if k[:2] != 'fc'
    }
    assert main([str(source), str(tmp_path / 'c.pth'), '--source=fast-reid']) == 2
    error = capsys.readouterr().err
    assert f'{source}: This is no file of' in error and "of 'torchreid'" in error
    assert main(['none.pth', str(out), '--source=torchreid']) == 2
    assert 'none.pth: there is no such' in capsys.readouterr().err
    assert not (tmp_path / 'c.pth').exists()


def test_a_foreign_layout_is_named(resnet):
    with pytest.raises(ValueError, match=r"'cluster-contrast'.*'conv1\.weight'"):
        convert_state_dict(resnet.state_dict(), 'cluster-contrast')
    with pytest.raises(ValueError, match='source must be one of'):
        convert_state_dict(resnet.state_dict(), 'caffe')
