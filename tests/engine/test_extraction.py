# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmengine.model import BaseModel, MMDistributedDataParallel
from mmpretrain.models import ClsDataPreprocessor
from torch import nn

from mmreid_gcl.engine import extract_features
from mmreid_gcl.eval_mode import evaluating
from mmreid_gcl.processes import shard

from .processes import run


class Images:
    """Image i is made of numbers that say i."""

    def __init__(self, count):
        self.count = count

    def __len__(self):
        return self.count

    def __getitem__(self, i):
        return dict(inputs=torch.full((3, 2, 2), float(i)))


class Toy(BaseModel):
    """(i, -i, 2 i, bias) of image i, through a norm that eval mode leaves alone."""

    def __init__(self):
        super().__init__(ClsDataPreprocessor())
        self.norm = nn.BatchNorm1d(4, eps=0.0)
        self.batches = []

    def forward(self, inputs, data_samples=None, mode='tensor'):
        assert mode == 'tensor'
        assert not self.training and not self.norm.training
        assert torch.is_inference_mode_enabled()
        i = inputs[:, 0, 0, 0]
        self.batches.append(len(i))
        return self.norm(torch.stack([i, -i, 2 * i, torch.ones_like(i)], dim=1))


def expected(count):
    i = torch.arange(count, dtype=torch.float32)
    return torch.stack([i, -i, 2 * i, torch.ones(count)], dim=1)


@settings(deadline=None)
@given(count=st.integers(0, 200), world_size=st.integers(1, 70))
def test_shards(count, world_size):
    shards = [shard(count, rank, world_size) for rank in range(world_size)]
    assert [i for part in shards for i in part] == list(range(count))
    lengths = [len(part) for part in shards]
    assert max(lengths) == -(-count // world_size)
    assert lengths == sorted(lengths, reverse=True)
    assert sum(0 < n < max(lengths) for n in lengths) <= 1


@pytest.mark.parametrize('workers', [0, 2])
@pytest.mark.parametrize('count,batch_size', [(10, 4), (8, 4), (3, 256), (1, 1)])
def test_order_of_the_data_set(count, batch_size, workers):
    model = Toy()
    features = extract_features(model, Images(count), batch_size, workers)
    assert torch.equal(features, expected(count))
    assert features.dtype == torch.float32 and features.device.type == 'cpu'
    assert sum(model.batches) == count
    assert max(model.batches) == min(batch_size, count)


@pytest.mark.parametrize('training', [True, False])
def test_mode_comes_back(training):
    model = Toy().train(training)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    extract_features(model, Images(6), 4, 0)
    assert model.training == model.norm.training == training
    for key, value in model.state_dict().items():
        assert torch.equal(value, before[key])


def test_mode_comes_back_after_an_error():
    class Broken(Toy):
        def forward(self, *args, **kwargs):
            raise OSError('out of something')

    model = Broken()
    with pytest.raises(OSError, match='out of something'):
        extract_features(model, Images(6), 4, 0)
    assert model.training


class Parts(nn.Module):
    """Modules whose modes differ on purpose."""

    def __init__(self):
        super().__init__()
        self.frozen = nn.Sequential(nn.BatchNorm1d(2))
        self.trained = nn.Sequential(nn.BatchNorm1d(2), nn.Dropout())
        self.train()
        self.frozen.eval()
        self.trained[1].eval()


def test_every_module_gets_its_own_mode_back():
    model = Parts()
    before = [module.training for module in model.modules()]
    assert before == [True, False, False, True, True, False]
    with evaluating(model):
        assert not any(module.training for module in model.modules())
    assert [module.training for module in model.modules()] == before
    with pytest.raises(KeyError), evaluating(model):
        raise KeyError
    assert [module.training for module in model.modules()] == before


def test_the_last_of_several_restores():
    """Threads that share a model: nobody embeds in train mode, nothing is lost."""
    model = Parts()
    before = [module.training for module in model.modules()]
    first, second = evaluating(model), evaluating(model)
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert not any(module.training for module in model.modules())
    second.__exit__(None, None, None)
    assert [module.training for module in model.modules()] == before


def test_a_frozen_norm_stays_frozen():
    model = Toy().train()
    model.norm.eval()
    extract_features(model, Images(6), 4, 0)
    assert model.training and not model.norm.training


def test_into_an_array(tmp_path):
    out = np.memmap(tmp_path / 'x.npy', np.float32, 'w+', shape=(10, 4))
    features = extract_features(Toy(), Images(10), 4, 0, out=out)
    assert np.array_equal(np.array(out), expected(10).numpy())
    assert features.data_ptr() == torch.from_numpy(out).data_ptr()


@pytest.mark.parametrize('amp_dtype', ['bfloat16', torch.bfloat16])
def test_amp(amp_dtype):
    seen = []

    class Linear(Toy):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(4, 4, bias=False)

        def forward(self, inputs, mode='tensor'):
            out = self.linear(super().forward(inputs, mode=mode))
            seen.append(out.dtype)
            return out

    model = Linear()
    features = extract_features(model, Images(5), 4, 0, amp_dtype=amp_dtype)
    assert set(seen) == {torch.bfloat16} and features.dtype == torch.float32
    plain = extract_features(model, Images(5), 4, 0)
    assert seen[-1] == torch.float32
    torch.testing.assert_close(features, plain, rtol=0.02, atol=0.05)


def _embed(rank, count, wrap):
    model = Toy()
    if wrap:
        model = MMDistributedDataParallel(model, broadcast_buffers=False)
    return extract_features(model, Images(count), 2, 0)


@pytest.mark.parametrize('count,wrap', [(7, True), (1, False), (6, False)])
def test_three_processes(tmp_path, count, wrap):
    """Also with ranks that have no image at all."""
    first, *others = run(_embed, tmp_path, 3, count, wrap)
    assert torch.equal(first, expected(count))
    assert others == [None, None]


def _embed_into_a_file(rank, path):
    features = extract_features(Toy(), Images(7), 2, 0, out=path)
    return None if features is None else features.clone()


@pytest.mark.parametrize('world_size', [1, 3])
def test_into_a_file(tmp_path, world_size):
    path = str(tmp_path / 'x.npy')
    if world_size == 1:
        _embed_into_a_file(0, path)
    else:
        first, *others = run(_embed_into_a_file, tmp_path, 3, path)
        assert torch.equal(first, expected(7)) and others == [None, None]
    assert np.array_equal(np.load(path), expected(7).numpy())


@pytest.mark.parametrize(
    'out',
    [np.zeros((4, 3), np.float32), np.zeros((5, 4), np.float32), np.zeros((4, 4))],
)
def test_an_array_of_another_kind(out):
    with pytest.raises(ValueError, match=r'need float32 \(4, 4\)'):
        extract_features(Toy(), Images(4), 2, 0, out=out)
