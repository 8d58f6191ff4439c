# SPDX-License-Identifier: Apache-2.0
"""Stride 1 in the last stage of any convolutional backbone."""

import pytest
import torch

from mmreid_gcl.models.last_stride import set_last_stride
from mmreid_gcl.registry import MODELS

CONVOLUTIONAL = {
    'MobileNetV2': dict(out_indices=(7,)),
    'ResNet': dict(depth=18),
    'ResNetV1d': dict(depth=50),  # averages in its shortcuts
    'RegNet': dict(arch='regnetx_400mf'),
}


@pytest.mark.parametrize('name', CONVOLUTIONAL)
def test_the_map_is_twice_as_large(name):
    torch.manual_seed(0)
    backbone = MODELS.build(dict(type=name, **CONVOLUTIONAL[name]))
    backbone.train()
    state = {key: value.clone() for key, value in backbone.state_dict().items()}
    assert set_last_stride(backbone, 1) is backbone and backbone.training
    assert all(torch.equal(state[k], v) for k, v in backbone.state_dict().items())
    with torch.no_grad():
        assert backbone(torch.randn(2, 3, 96, 64))[-1].shape[-2:] == (6, 4)


def test_equals_the_strides_of_a_resnet():
    torch.manual_seed(0)
    by_config = MODELS.build(dict(type='ResNet', depth=50, strides=(1, 2, 2, 1)))
    changed = MODELS.build(dict(type='ResNet', depth=50))
    changed.load_state_dict(by_config.state_dict())
    set_last_stride(changed, 1)
    by_config.eval()  # which returns nothing in mmpretrain
    changed.eval()
    x = torch.randn(1, 3, 64, 32)
    with torch.no_grad():
        assert torch.equal(by_config(x)[-1], changed(x)[-1])


def test_what_has_no_last_stage_is_refused():
    vit = dict(type='VisionTransformer', arch='deit-tiny', img_size=(256, 128))
    with pytest.raises(ValueError, match='VisionTransformer reduces its map in 1 pl'):
        set_last_stride(MODELS.build(vit), 1)
    one = MODELS.build(dict(type='ResNet', depth=18, strides=(1, 2, 2, 1)))
    with pytest.raises(ValueError, match=r'map of 16 rows .* stride 1 already'):
        set_last_stride(one, 1)
    with pytest.raises(ValueError, match='at least 1, got 0'):
        set_last_stride(MODELS.build(dict(type='ResNet', depth=18)), 0)
