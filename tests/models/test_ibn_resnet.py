# SPDX-License-Identifier: Apache-2.0
import pytest
import torch

from mmreid_gcl.models.backbones import IBNResNet, InstanceBatchNorm


def test_halves_are_normalised_apart():
    torch.manual_seed(0)
    norm = InstanceBatchNorm(5).train()
    assert (norm.IN.num_features, norm.BN.num_features) == (2, 3)
    x = torch.randn(4, 5, 6, 7) * 3 + 2
    out = norm(x)
    for image in range(4):
        for channel in range(2):
            one = x[image, channel]
            by_hand = (one - one.mean()) / (one.var(correction=0) + 1e-5).sqrt()
            torch.testing.assert_close(out[image, channel], by_hand)
    for channel in range(2, 5):
        one = x[:, channel]
        by_hand = (one - one.mean()) / (one.var(correction=0) + 1e-5).sqrt()
        torch.testing.assert_close(out[:, channel], by_hand)


def test_names_are_those_of_the_published_weights():
    model = IBNResNet(50, strides=(1, 2, 2, 1), out_indices=(3,))
    names = set(model.state_dict())
    assert {'layer1.0.bn1.IN.weight', 'layer3.5.bn1.BN.running_var'} <= names
    assert 'layer4.0.bn1.weight' in names and 'layer1.0.bn2.weight' in names
    assert sum(isinstance(m, InstanceBatchNorm) for m in model.modules()) == 3 + 4 + 6
    model.eval()
    with torch.no_grad():
        (out,) = model(torch.zeros(1, 3, 64, 32))
    assert out.shape == (1, 2048, 4, 2)


def test_shallow_ones_are_refused():
    with pytest.raises(ValueError, match='50, 101 or 152, got 18'):
        IBNResNet(18)
