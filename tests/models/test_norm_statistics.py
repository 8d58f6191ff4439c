# SPDX-License-Identifier: Apache-2.0
"""Statistics of batch norms by plain loops over batches, images and pixels."""

import pytest
import torch
from torch import nn

from mmreid_gcl.models import reestimate_norms
from mmreid_gcl.registry import MODELS

from .tiny import model_cfg


class Net(nn.Module):
    """Two convolutions with batch norms, and what must stay as it is."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv1, self.norm1 = nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)
        self.drop = nn.Dropout(0.9)
        self.conv2, self.norm2 = nn.Conv2d(4, 5, 1), nn.BatchNorm2d(5, momentum=None)
        self.unused, self.plain = nn.BatchNorm1d(2), nn.InstanceNorm2d(4)
        for norm in (self.norm1, self.norm2, self.unused):
            for tensor in (norm.weight, norm.bias, norm.running_mean, norm.running_var):
                nn.init.uniform_(tensor, 0.5, 1.5)
        self.double()

    def forward(self, inputs, mode):
        assert mode == 'tensor' and not torch.is_grad_enabled()
        x = self.plain(self.norm1(self.conv1(inputs)).relu())
        return self.norm2(self.conv2(self.drop(x))).mean(dim=(2, 3))


def statistics(maps):
    """Mean, variance with n - 1, variance with n of every channel."""
    out = []
    for channel in range(maps.shape[1]):
        values = [value for image in maps for value in image[channel].flatten()]
        mean = sum(values) / len(values)
        squares = sum((value - mean) ** 2 for value in values)
        out.append((mean, squares / (len(values) - 1), squares / len(values)))
    return torch.tensor(out, dtype=torch.float64).T


def expected(net, batches):
    sums, count = {}, sum(map(len, batches))
    for batch in batches:
        x = batch
        for conv, norm in ((net.conv1, net.norm1), (net.conv2, net.norm2)):
            x = conv(x)
            mean, unbiased, biased = statistics(x)
            for name, value in (('running_mean', mean), ('running_var', unbiased)):
                total = sums.setdefault((norm, name), torch.zeros_like(value))
                total += len(batch) / count * value
            x = (x - mean[:, None, None]) / (biased + norm.eps).sqrt()[:, None, None]
            x = x * norm.weight[:, None, None] + norm.bias[:, None, None]
            x = net.plain(x.relu())
    return sums


@pytest.fixture
def batches():
    torch.manual_seed(1)
    sizes = enumerate((4, 4, 3), 1)
    return [i * torch.randn(n, 3, 2, 2, dtype=torch.float64) for i, n in sizes]


def test_statistics_are_those_of_the_images(batches):
    net = Net()
    net.norm2.eval()  # kept in a mode of its own
    modes = [module.training for module in net.modules()]
    before = {name: value.clone() for name, value in net.state_dict().items()}
    single = torch.full((1, 3, 2, 2), 1e6, dtype=torch.float64)
    assert reestimate_norms(net, [*batches, single]) == 11
    assert [module.training for module in net.modules()] == modes
    assert (net.norm1.momentum, net.norm2.momentum) == (0.1, None)
    with torch.no_grad():
        for (norm, name), value in expected(net, batches).items():
            assert torch.allclose(getattr(norm, name), value, atol=1e-12)
    for name, value in net.state_dict().items():
        changed = name.startswith('norm') and 'running' in name
        if not name.endswith('num_batches_tracked'):
            assert torch.equal(value, before[name]) != changed, name


@pytest.mark.parametrize('options', [{}, dict(samples_per_bn=2), dict(flip_test=True)])
def test_of_the_model(options):
    """A batch is one batch, also of sub-batches; its mirror image is none."""
    plain, model = (MODELS.build(model_cfg(**more)) for more in ({}, options))
    model.load_state_dict(plain.state_dict())
    torch.manual_seed(0)
    batches = [torch.randn(n, 3, 32, 16) for n in (4, 3)]
    for net in (plain, model):
        reestimate_norms(net, batches)
    found = model.state_dict()
    for name, value in plain.state_dict().items():
        assert torch.equal(value, found[name]), name
    assert model.flip_test == options.get('flip_test', False)
    norms = [m for m in model.modules() if hasattr(m, 'samples')]
    assert {norm.samples for norm in norms} == {
        *filter(None, [options.get('samples_per_bn')])
    }


def broken(batches):
    yield from batches
    raise OSError('the disk is gone')


@pytest.mark.parametrize(
    ('kind', 'error', 'message'),
    [(broken, OSError, 'disk'), (lambda b: b[0].split(1), ValueError, 'at least two')],
)
def test_an_error_leaves_the_model_as_it_was(batches, kind, error, message):
    net = Net()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    with pytest.raises(error, match=message):
        reestimate_norms(net, kind(batches))
    for name, value in net.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert net.norm1.momentum == 0.1 and net.training


def test_a_model_without_batch_norm():
    with pytest.raises(ValueError, match='Linear has no batch norm'):
        reestimate_norms(nn.Linear(2, 2), [])
