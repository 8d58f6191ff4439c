# SPDX-License-Identifier: Apache-2.0
"""Weights of another network do not pass for pretrained ones."""

import pytest
import torch

from mmreid_gcl.models import pretrained
from mmreid_gcl.registry import MODELS

from .tiny import model_cfg


def with_weights(tmp_path, state, **init):
    torch.save(dict(state_dict=state), tmp_path / 'w.pth')
    cfg = model_cfg(relation=False)
    path = str(tmp_path / 'w.pth')
    cfg['backbone']['init_cfg'] = dict(type='Pretrained', checkpoint=path, **init)
    return MODELS.build(cfg)


def test_weights_that_fit(tmp_path):
    torch.manual_seed(1)
    source = MODELS.build(model_cfg(relation=False))
    source.init_weights()
    state = source.backbone.state_dict()
    model = with_weights(tmp_path, state)
    model.init_weights()
    for name, value in model.backbone.state_dict().items():
        assert torch.equal(value, state[name]), name
    model.init_weights()  # once more is mmengine's warning, no error
    named = with_weights(
        tmp_path, {f'net.{k}': v for k, v in state.items()}, prefix='net.'
    )
    named.init_weights()
    assert torch.equal(named.backbone.conv1.weight, state['conv1.weight'])


def test_weights_of_another_network_are_refused(tmp_path):
    state = {'features.0.weight': torch.ones(3), 'features.1.bias': torch.ones(2)}
    with pytest.raises(ValueError, match='weights of another network') as caught:
        with_weights(tmp_path, state).init_weights()
    text = str(caught.value)
    assert str(tmp_path / 'w.pth') in text and '0%' in text and 'ResNet' in text
    assert 'conv1.weight' in text and 'features.0.weight, features.1.bias' in text


def test_a_part_of_the_weights_is_said(tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr(pretrained, 'print_log', lambda text, **_: said.append(text))
    source = MODELS.build(model_cfg(relation=False))
    state = source.backbone.state_dict()
    kept = {k: v + 1 for k, v in state.items() if k.startswith('layer4')}
    with_weights(tmp_path, kept).init_weights()
    share = sum(v.numel() for v in kept.values()) / sum(
        v.numel() for v in state.values()
    )
    assert 0.1 < share < 0.9
    (text,) = said
    assert f'{share:.0%} of the backbone' in text
