# SPDX-License-Identifier: Apache-2.0
import collections
import os
import pickle
from functools import partial

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.logging import HistoryBuffer
from torch import nn

import mmreid_gcl
from mmreid_gcl import checkpoint
from mmreid_gcl.apis.loading import load_model, load_state
from mmreid_gcl.checkpoint import read_checkpoint

load_checkpoint_file = partial(read_checkpoint, mmap=True)

MODEL = dict(
    type='mmreid_gcl.UnsupervisedReID',
    backbone=dict(
        type='mmpretrain.ResNet',
        depth=18,
        stem_channels=4,
        base_channels=4,
        out_indices=(3,),
        init_cfg=dict(type='Pretrained', checkpoint='there/is/no/such/file.pth'),
    ),
    neck=dict(type='mmreid_gcl.EmbeddingNeck', in_channels=32),
    head=dict(type='mmreid_gcl.SelectiveMemoryHead', in_channels=32),
)


class Attack:
    """Makes a file when it is unpickled."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


class SetState:
    """Would run its __setstate__."""

    def __setstate__(self, state):
        os.mkdir(state['path'])


@pytest.fixture(scope='module')
def model():
    torch.manual_seed(0)
    settings = Config(dict(model=MODEL)).model
    settings.backbone.pop('init_cfg')
    return mmreid_gcl.registry.MODELS.build(settings)


@pytest.fixture
def cfg():
    return Config(dict(model=MODEL))


def test_a_checkpoint_of_mmengine_with_its_histories(tmp_path, model, cfg):
    history = HistoryBuffer([1.0, 2.0], [1, 1])
    history.update(3.0)
    path = tmp_path / 'epoch_1.pth'
    torch.save(
        dict(
            meta=dict(epoch=1, seed=np.int64(3)),
            message_hub=dict(log_scalars=collections.OrderedDict(a=history)),
            state_dict=model.state_dict(),
            pseudo_labels=torch.tensor([0, -1]),
        ),
        path,
    )
    loaded = load_model(cfg, path, 'cpu')
    assert not loaded.training
    assert 'init_cfg' in cfg.model.backbone  # the config is not changed
    for name, value in model.state_dict().items():
        torch.testing.assert_close(loaded.state_dict()[name], value)
    rest = load_state(loaded, path)
    assert rest['meta']['epoch'] == 1
    assert rest['pseudo_labels'].tolist() == [0, -1]
    assert 'state_dict' not in rest
    # a new history with the numbers of the file, and with no method of it
    read = rest['message_hub']['log_scalars']['a']
    assert read.data[0].tolist() == [1.0, 2.0, 3.0]
    assert vars(read).keys() == vars(HistoryBuffer()).keys()


@pytest.mark.parametrize('form', ['plain', 'wrapped', 'legacy'])
def test_other_forms_of_checkpoints(tmp_path, model, cfg, form):
    state = model.state_dict()
    if form == 'wrapped':
        state = {f'module.{name}': value for name, value in state.items()}
    path = tmp_path / 'weights.pth'
    torch.save(state, path, _use_new_zipfile_serialization=form != 'legacy')
    loaded = load_model(cfg, path, 'cpu')
    for name, value in model.state_dict().items():
        torch.testing.assert_close(loaded.state_dict()[name], value)


@pytest.mark.parametrize('zipped', [True, False])
@pytest.mark.parametrize('where', ['alone', 'beside', 'history'])
def test_no_code_is_executed(tmp_path, model, zipped, where):
    target = tmp_path / 'made_by_the_attack'
    content = Attack(target)
    if where == 'beside':
        content = dict(state_dict=model.state_dict(), meta=content)
    if where == 'history':
        history = HistoryBuffer()
        history._log_history = content
        content = dict(state_dict={}, message_hub=history)
    path = tmp_path / 'evil.pth'
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(ValueError, match=r'evil\.pth.*refused.*trust'):
        load_checkpoint_file(path)
    assert not target.exists()


def test_classes_with_setstate_and_plain_pickles_are_refused(tmp_path):
    target = tmp_path / 'made'
    evil = SetState()
    evil.path = str(target)
    path = tmp_path / 'a.pth'
    torch.save(dict(state_dict={}, x=evil), path)
    with pytest.raises(ValueError, match='refused'):
        load_checkpoint_file(path)
    for protocol in (2, 4):
        path.write_bytes(pickle.dumps(Attack(target), protocol))
        with pytest.raises(ValueError, match=r'a\.pth'):
            load_checkpoint_file(path)
    assert not target.exists()


def test_getattr_in_a_checkpoint_reaches_nothing(tmp_path):
    class Reach:
        def __reduce__(self):
            return getattr, (HistoryBuffer, 'update')

    path = tmp_path / 'a.pth'
    torch.save(dict(x=Reach()), path)
    assert load_checkpoint_file(path)['x'] is None


def test_damaged_files_are_named(tmp_path, model):
    whole = tmp_path / 'whole.pth'
    torch.save(model.state_dict(), whole)
    data = whole.read_bytes()
    for n, part in enumerate((b'', b'hello', data[: len(data) // 2], data[:-10])):
        path = tmp_path / f'part{n}.pth'
        path.write_bytes(part)
        with pytest.raises(ValueError, match=rf'part{n}\.pth: .*(damaged|refused)'):
            load_checkpoint_file(path)
    with pytest.raises(FileNotFoundError, match=r'none\.pth'):
        load_checkpoint_file(tmp_path / 'none.pth')
    with pytest.raises(FileNotFoundError, match='no such checkpoint'):
        load_checkpoint_file(tmp_path)
    torch.save([1, 2], whole)
    with pytest.raises(ValueError, match='got a list'):
        load_checkpoint_file(whole)


def test_a_checkpoint_of_another_model_says_what_differs(tmp_path):
    path = tmp_path / 'w.pth'
    state = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1)).state_dict()
    torch.save(state, path)
    with pytest.raises(ValueError, match=r'w\.pth.*1 of 4 .*0\.weight has shape'):
        load_state(nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 1)), path)
    with pytest.raises(ValueError, match=r'1\.weight is not in it; 1\.bias is'):
        load_state(nn.Sequential(nn.Linear(2, 3)), path)
    other = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1), nn.Linear(1, 1))
    with pytest.raises(ValueError, match=r'2\.weight is missing.*work dir'):
        load_state(other, path)


def test_an_untrained_model_is_initialised_as_its_config_says(cfg):
    with pytest.raises((FileNotFoundError, OSError), match='no/such/file'):
        load_model(cfg, None, 'cpu')
    cfg.model.backbone.init_cfg = dict(type='Constant', val=0.25, layer='Conv2d')
    loaded = load_model(cfg, None, 'cpu')
    assert (loaded.backbone.conv1.weight == 0.25).all()


def test_a_classifier_in_the_file_is_left_out(tmp_path, model, cfg, monkeypatch):
    said = []
    monkeypatch.setattr(checkpoint, 'print_log', lambda text, **_: said.append(text))
    state = model.state_dict()
    extra = {
        'head.fc.weight': torch.zeros(3, 32),
        'classifier.weight': torch.zeros(3, 32),
        'module.heads.0.classifier.bias': torch.zeros(3),
    }
    path = tmp_path / 'w.pth'
    torch.save(dict(state_dict={**state, **extra}), path)
    loaded = load_model(cfg, path, 'cpu')
    for name, value in state.items():
        torch.testing.assert_close(loaded.state_dict()[name], value)
    (line,) = said
    assert 'w.pth' in line and all(name in line for name in extra)
    # neither another layer nor one of the backbone is a classifier
    for name in ('gate.weight', 'backbone.layer1.0.se.fc.weight'):
        torch.save({**state, name: torch.zeros(1)}, path)
        with pytest.raises(ValueError, match=f'{name} is not in it'):
            load_model(cfg, path, 'cpu')
    torch.save({k: v for k, v in state.items() if k != 'backbone.conv1.weight'}, path)
    with pytest.raises(ValueError, match=r'backbone\.conv1\.weight is missing'):
        load_model(cfg, path, 'cpu')
