# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
import torchvision
from torch import nn

from mmreid_gcl.models.key_mapping import convert_state_dict
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


def test_a_foreign_layout_is_named(resnet):
    with pytest.raises(ValueError, match=r"'cluster-contrast'.*'conv1\.weight'"):
        convert_state_dict(resnet.state_dict(), 'cluster-contrast')
    with pytest.raises(ValueError, match='source must be one of'):
        convert_state_dict(resnet.state_dict(), 'caffe')
