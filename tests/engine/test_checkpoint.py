# SPDX-License-Identifier: Apache-2.0
"""Checkpoints: written whole, read without running what is in them."""

import errno
import os
import pickle
import resource
import signal
import subprocess
import sys
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.fileio import get_file_backend
from mmengine.logging import HistoryBuffer, MessageHub
from mmengine.model import BaseModule
from mmengine.runner.checkpoint import CheckpointLoader, load_checkpoint

from mmreid_gcl import checkpoint as reading
from mmreid_gcl.apis import loading
from mmreid_gcl.checkpoint import last_good_checkpoint, read_checkpoint
from mmreid_gcl.engine.checkpoint_files import ATOMIC
from mmreid_gcl.files import remove_partial, write_atomically
from mmreid_gcl.work_dir import point_to

from .tiny_training import build, make_config, train

TOOLS = Path(__file__).parents[2] / 'tools'


class Malicious:
    """Creates a file when a full unpickler reads it."""

    def __init__(self, victim):
        self.victim = victim

    def __reduce__(self):
        return os.mkdir, (str(self.victim),)


@pytest.fixture
def victim(tmp_path):
    """A folder that must not exist at the end."""
    path = tmp_path / 'executed'
    yield path
    assert not path.exists(), 'the file was executed'


@pytest.fixture(params=['zip', 'legacy', 'pickle', 'in the state dict'])
def malicious(request, tmp_path, victim):
    path = tmp_path / 'malicious.pth'
    content = dict(meta=dict(epoch=1, iter=4), state_dict=Malicious(victim))
    if request.param == 'in the state dict':
        content['state_dict'] = OrderedDict(weight=Malicious(victim))
    if request.param == 'pickle':
        path.write_bytes(pickle.dumps(content, protocol=2))
    else:
        legacy = request.param == 'legacy'
        torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    return path


def test_the_file_of_these_tests_is_dangerous(tmp_path):
    torch.save(Malicious(tmp_path / 'executed'), tmp_path / 'malicious.pth')
    torch.load(tmp_path / 'malicious.pth', weights_only=False)
    assert (tmp_path / 'executed').exists()


def test_malicious_file_is_refused_by_the_stack(malicious):
    for load in (
        read_checkpoint,
        lambda path: CheckpointLoader.load_checkpoint(str(path)),
        lambda path: load_checkpoint(torch.nn.Linear(1, 1), str(path)),
        loading.load_checkpoint_file,
    ):
        with pytest.raises(ValueError, match='could execute code') as caught:
            load(malicious)
        assert str(malicious) in str(caught.value)


def test_malicious_file_is_refused_as_init_cfg(malicious):
    class Net(BaseModule):
        def __init__(self, init_cfg):
            super().__init__(init_cfg)
            self.layer = torch.nn.Linear(1, 1)

    for more in ({}, {'prefix': 'layer'}):
        net = Net(dict(type='Pretrained', checkpoint=str(malicious), **more))
        with pytest.raises(ValueError, match='could execute code'):
            net.init_weights()


def test_malicious_file_is_refused_by_load_model(malicious, tmp_path):
    config = make_config(tmp_path, tmp_path)
    with pytest.raises(ValueError, match='could execute code'):
        loading.load_model(config, malicious, 'cpu')
    config.model.backbone.init_cfg = dict(type='Pretrained', checkpoint=str(malicious))
    with pytest.raises(ValueError, match='could execute code'):
        loading.load_model(config, device='cpu')


@pytest.mark.parametrize('resume', [False, True])
@pytest.mark.parametrize('malicious', ['zip'], indirect=True)
def test_malicious_file_is_refused_by_a_run(images, tmp_path, malicious, resume):
    config = make_config(images, tmp_path / 'run', resume=resume)
    config.load_from = str(malicious)
    with pytest.raises(ValueError, match='could execute code'):
        train(config)
    if resume:  # found by --resume without a value
        config.load_from = None
        (tmp_path / 'run').mkdir(exist_ok=True)
        point_to(tmp_path / 'run', str(malicious))
        with pytest.raises(ValueError, match='could execute code'):
            train(config)
    else:
        config.test_dataloader = config.val_dataloader
        config.test_evaluator, config.test_cfg = config.val_evaluator, dict()
        with pytest.raises(ValueError, match='could execute code'):
            build(config).test()


@pytest.mark.slow
@pytest.mark.parametrize('malicious', ['zip'], indirect=True)
@pytest.mark.parametrize(
    'tool', ['train.py --resume', 'train.py --cfg-options load_from=', 'test.py']
)
def test_malicious_file_is_refused_by_the_tools(images, tmp_path, malicious, tool):
    config = make_config(images, tmp_path / 'run')
    config.test_dataloader = config.val_dataloader
    config.test_evaluator, config.test_cfg = config.val_evaluator, dict()
    config.dump(tmp_path / 'config.py')
    name, *options = tool.split()
    joined = options and options[-1].endswith('=')
    options = [*options[:-1], options[-1] + str(malicious)] if joined else options
    command = [sys.executable, TOOLS / name, tmp_path / 'config.py', *options]
    command += [] if joined else [malicious]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode != 0
    assert 'could execute code' in done.stderr


def test_resume_does_not_run_a_config_from_the_checkpoint(tmp_path, victim):
    """mmengine's resume executes the text in meta['config']."""
    text = f'import os\nos.mkdir({str(victim)!r})'
    torch.save(dict(meta=dict(config=text, epoch=3)), tmp_path / 'a.pth')
    content = CheckpointLoader.load_checkpoint(str(tmp_path / 'a.pth'))
    assert content['meta'] == dict(epoch=3)


def test_history_cannot_replace_methods(tmp_path):
    history = HistoryBuffer([1.0, 3.0], [1, 1])
    methods = dict(HistoryBuffer._statistics_methods)
    history.__dict__['max_length'] = 17
    HistoryBuffer._statistics_methods['mean'] = HistoryBuffer.min
    torch.save(dict(history=history), tmp_path / 'a.pth')
    HistoryBuffer._statistics_methods.update(methods)
    loaded = read_checkpoint(tmp_path / 'a.pth')['history']
    assert HistoryBuffer._statistics_methods == methods
    assert type(loaded) is HistoryBuffer and loaded.max_length == 17
    assert loaded.mean() == 2 and loaded.statistics('mean') == 2
    loaded.update(5.0)
    assert loaded.max() == 5


def test_every_scheme_has_a_safe_loader():
    for prefix, loader in CheckpointLoader._schemes.items():
        assert loader.__module__ == reading.__name__, prefix


def test_what_mmengine_keeps_is_read(tmp_path):
    hub = MessageHub.get_instance('what mmengine keeps')
    hub.update_scalar('train/loss', 0.5)
    hub.update_scalar('train/loss', torch.tensor(1.5))
    hub.update_info('best_score', np.float64(3))
    hub.update_info('keep_ckpt_ids', [1, 2])
    values = dict(
        message_hub=hub.state_dict(),
        arrays=[np.arange(3), np.ones((2, 2), np.float32), np.array(['a', 'bc'])],
        scalars=(np.float32(1), np.int64(2), np.bool_(True)),
        weights=OrderedDict(w=torch.ones(2)),
    )
    torch.save(values, tmp_path / 'a.pth')
    loaded = read_checkpoint(tmp_path / 'a.pth')
    assert loaded['scalars'] == values['scalars']
    for one, other in zip(loaded['arrays'], values['arrays']):
        np.testing.assert_array_equal(one, other)
    other = MessageHub.get_instance('another hub')
    other.load_state_dict(loaded['message_hub'])
    assert other.get_scalar('train/loss').mean() == 1.0
    assert other.get_info('best_score') == 3


def save_state(path, **more):
    content = dict(meta={}, state_dict={}, message_hub={}, optimizer={}, **more)
    torch.save(content, path)


def test_damaged_file_names_itself_and_the_last_good_one(tmp_path):
    for name in ('epoch_1.pth', 'epoch_2.pth', 'epoch_3.pth'):
        save_state(tmp_path / name, big=torch.zeros(1000))
    torch.save(dict(state_dict={}), tmp_path / 'best.pth')  # weights alone
    os.utime(tmp_path / 'epoch_1.pth', (1, 1))
    damaged = tmp_path / 'epoch_3.pth'
    whole = damaged.read_bytes()
    for data in (b'', whole[:100], whole[: len(whole) // 2], whole[:-50], b'x' * 999):
        damaged.write_bytes(data)
        with pytest.raises(ValueError, match=r'is (damaged|no checkpoint)') as caught:
            read_checkpoint(damaged)
        assert str(damaged) in str(caught.value)
        assert f'last good checkpoint in its folder is {tmp_path / "epoch_2.pth"}' in (
            str(caught.value)
        )
    (tmp_path / 'epoch_2.pth').write_bytes(whole[:99])
    assert last_good_checkpoint(tmp_path) == tmp_path / 'epoch_1.pth'
    with pytest.raises(FileNotFoundError, match=r'epoch_9.*good.*epoch_1'):
        read_checkpoint(tmp_path / 'epoch_9.pth')


def test_not_a_dict(tmp_path):
    torch.save([1, 2], tmp_path / 'a.pth')
    with pytest.raises(ValueError, match='expected a dict of weights, got a list'):
        read_checkpoint(tmp_path / 'a.pth')


def test_download_is_kept_and_read_safely(tmp_path, monkeypatch, malicious):
    downloads = []

    def download(url, file, **_):
        downloads.append(url)
        Path(file).write_bytes(source.read_bytes())

    monkeypatch.setattr(torch.hub, 'download_url_to_file', download)
    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path / 'hub'))
    source = tmp_path / 'good.pth'
    torch.save(dict(state_dict=dict(w=torch.ones(1))), source)
    for _ in range(2):
        loaded = CheckpointLoader.load_checkpoint('https://example.org/a/net.pth?v=1')
        assert loaded['state_dict']['w'] == 1
    loaded = CheckpointLoader.load_checkpoint('torchvision://resnet18')
    assert downloads[0] == 'https://example.org/a/net.pth?v=1'
    assert len(downloads) == 2 and 'resnet18' in downloads[1]
    source = malicious
    for address in ('http://example.org/b.pth', 'open-mmlab://resnet50_caffe'):
        with pytest.raises(ValueError, match='could execute code'):
            CheckpointLoader.load_checkpoint(address)
    with pytest.raises(ValueError, match='no model of this name'):
        CheckpointLoader.load_checkpoint('torchvision://resnet7')


def test_write_is_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / 'folder' / 'a.pth'
    write_atomically(path, b'old')

    def fail(*_):
        raise OSError(errno.ENOSPC, 'No space left on device')

    monkeypatch.setattr(os, 'fsync', fail)
    with pytest.raises(OSError, match='No space left'):
        write_atomically(path, b'new')
    assert path.read_bytes() == b'old'
    assert os.listdir(path.parent) == ['a.pth']
    monkeypatch.undo()
    write_atomically(path, b'new')
    assert path.read_bytes() == b'new'


def test_killed_while_writing(tmp_path):
    path = tmp_path / 'a.pth'
    write_atomically(path, b'old')
    pid = os.fork()
    if pid == 0:
        os.fsync = lambda _: os.kill(os.getpid(), signal.SIGKILL)
        write_atomically(path, b'new')
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
    assert path.read_bytes() == b'old'
    assert len(os.listdir(tmp_path)) == 2
    remove_partial(tmp_path)
    assert os.listdir(tmp_path) == ['a.pth']


def test_disk_limit(tmp_path):
    """A real refusal of the system, in a process with a limit of its own."""
    save_state(tmp_path / 'epoch_1.pth')
    backend = get_file_backend(backend_args=dict(backend=ATOMIC))
    message = tmp_path / 'message'
    pid = os.fork()
    if pid == 0:
        resource.setrlimit(resource.RLIMIT_FSIZE, (10000, 10000))
        try:
            backend.put(bytes(20000), str(tmp_path / 'epoch_2.pth'))
        except OSError as error:
            message.write_text(str(error))
        os._exit(0)
    os.waitpid(pid, 0)
    text = message.read_text()
    assert 'could not be written' in text and 'epoch_2.pth' in text
    assert f'last good checkpoint in its folder is {tmp_path / "epoch_1.pth"}' in text
    assert sorted(os.listdir(tmp_path)) == ['epoch_1.pth', 'message']


def test_resume_refuses_what_is_not_of_this_run(images, tmp_path):
    config = make_config(images, tmp_path / 'run', **{'train_cfg.max_epochs': 1})
    runner = train(config)
    good = tmp_path / 'run' / 'epoch_1.pth'
    content = read_checkpoint(good)
    foreign = tmp_path / 'run' / 'foreign.pth'

    def refused(match, resume=True, **more):
        options = {'train_cfg.max_epochs': 2, **more}
        config = make_config(images, tmp_path / 'run', resume=resume, **options)
        config.load_from = str(foreign)
        with pytest.raises(ValueError, match=match) as caught:
            train(config)
        assert str(foreign) in str(caught.value)
        return str(caught.value)

    torch.save(content['state_dict'], foreign)
    message = refused('no checkpoint of a training run, it lacks meta, state_dict')
    assert f'last good checkpoint in its folder is {good}' in message
    other = dict(content, state_dict=OrderedDict(a=torch.ones(1)))
    torch.save(other, foreign)
    assert f'folder is {good}' in refused('belongs to another model: ')
    refused('none of its weights', resume=False)
    reshaped = OrderedDict(content['state_dict'])
    reshaped['relation_neck.theta.0.weight'] = torch.ones(3, 3)
    name = next(k for k in reshaped if k.startswith('relation_neck') and '.' in k)
    reshaped.pop('relation_neck.theta.0.weight')
    reshaped[name] = torch.ones(7)
    torch.save(dict(content, state_dict=reshaped), foreign)
    refused(
        f'1 of {len(content["state_dict"])} weights do not fit.* has shape \\(7,\\)'
    )
    # weights of a part are welcome to start from, but not to test
    config = make_config(images, tmp_path / 'run')
    config.load_from = str(foreign)
    config.test_dataloader = config.val_dataloader
    config.test_evaluator, config.test_cfg = config.val_evaluator, dict()
    with pytest.raises(ValueError, match='belongs to another model'):
        build(config).test()
    assert runner.iter == 4


def test_outdated_checkpoints_go_after_the_new_one_is_there(images, tmp_path):
    """With max_keep_ckpts=1 mmengine deletes the only one first."""
    config = make_config(
        images, tmp_path, **{'default_hooks.checkpoint.max_keep_ckpts': 1}
    )
    seen = []

    def watch(self, runner, checkpoint):
        seen.append(sorted(path.name for path in tmp_path.glob('*.pth')))

    runner = build(config)
    hook = type('Watch', (type(runner.hooks[0]),), {'before_save_checkpoint': watch})
    runner.register_hook(hook())
    runner.train()
    assert seen == [[], ['epoch_1.pth'], ['epoch_2.pth']]
    assert [path.name for path in tmp_path.glob('*.pth')] == ['epoch_3.pth']
    pointer = (tmp_path / 'last_checkpoint').read_text()
    assert pointer == str(tmp_path / 'epoch_3.pth')


def test_weights_to_use_hold_nothing_to_go_on_from(images, tmp_path):
    """Epochs of 4 batches, steps of 3: a gradient waits when the best are saved."""
    options = {'optim_wrapper.accumulative_counts': 3, 'train_cfg.max_epochs': 2}
    options['default_hooks.checkpoint.save_best'] = 'reid/mAP'
    train(make_config(images, tmp_path, **options))
    assert 'gradients' in read_checkpoint(tmp_path / 'epoch_1.pth')
    (best,) = tmp_path.glob('best_*.pth')
    content = read_checkpoint(best)
    assert not {'gradients', 'optimizer'} & content.keys()
    assert best.stat().st_size < 1.2 * sum(
        value.nbytes for value in content['state_dict'].values()
    )
