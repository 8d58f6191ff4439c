# SPDX-License-Identifier: Apache-2.0
"""What tools/train.py says before it builds anything."""

import os
import signal

import pytest
import torch

from mmreid_gcl.work_dir import claim, release

from .conftest import TOOLS

CONFIG = str(TOOLS.parent / 'configs' / 'gcl_folder.py')


@pytest.fixture
def train(load_tool, monkeypatch, tmp_path):
    """Call it with words; the config that reached the runner."""
    tool = load_tool('train')
    seen = []

    class Runner:
        @classmethod
        def from_cfg(cls, cfg):
            seen.append(cfg)
            return cls()

        def train(self):
            pass

    monkeypatch.setattr(tool, 'Runner', Runner)
    monkeypatch.setenv('HOME', str(tmp_path))
    monkeypatch.chdir(tmp_path)  # of the config's own work dir

    def call(*words, config=CONFIG):
        monkeypatch.setattr('sys.argv', ['train.py', config, *words])
        tool.main()
        return seen[-1]

    call.runner, call.seen = Runner, seen
    yield call
    release()  # which the loop does


def test_a_missing_data_folder_is_one_line(train, capsys):
    with pytest.raises(SystemExit) as caught:
        train('--cfg-options', 'data_root=nowhere')
    assert caught.value.code == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith('train: nowhere: no such folder')
    assert 'train_dataloader (data_root)' in line


def test_a_mistyped_option_is_one_line(train, capsys):
    with pytest.raises(SystemExit) as caught:
        train('--cfg-options', 'train_datloader.num_workers=1')
    assert caught.value.code == 2
    assert 'Did you mean train_dataloader?' in capsys.readouterr().err


@pytest.mark.parametrize('launcher', [[], ['--launcher=pytorch']])
def test_a_work_dir_in_use_is_one_line(train, tmp_path, capsys, launcher, monkeypatch):
    """Before the runner, or by it where it must first connect the processes."""
    (tmp_path / 'crops').mkdir()
    work_dir = tmp_path / 'work'
    options = [f'data_root={tmp_path / "crops"}']
    ready, done = os.pipe()
    pid = os.fork()
    if pid == 0:
        claim(work_dir)
        os.write(done, b'x')
        signal.pause()
    os.read(ready, 1)
    try:
        if launcher:
            monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
            monkeypatch.setattr(train.runner, 'train', lambda _: claim(work_dir))
        with pytest.raises(SystemExit) as caught:
            train('--work-dir', str(work_dir), *launcher, '--cfg-options', *options)
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    assert caught.value.code == 2 and len(train.seen) == len(launcher)
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith(f'train: {work_dir}: another training')
    assert f'pid {pid} ' in line


def test_a_home_folder(train, tmp_path):
    (tmp_path / 'crops').mkdir()
    cfg = train('--cfg-options', 'data_root=~/crops')
    assert cfg.train_dataloader.dataset.data_root == '~/crops'


@pytest.mark.parametrize(
    ('begun', 'weights', 'expected'),
    [
        (False, 'w.pth', (False, 'w.pth')),  # the first start begins with the weights
        (True, 'w.pth', (True, None)),
        (False, None, (True, None)),
        (True, None, (True, None)),
    ],
)
def test_resume_and_weights_to_begin_with(train, tmp_path, begun, weights, expected):
    (tmp_path / 'crops').mkdir()
    work_dir = tmp_path / 'work'
    work_dir.mkdir()
    if begun:
        (work_dir / 'last_checkpoint').write_text('epoch_1.pth')
    options = ['--cfg-options', f'data_root={tmp_path / "crops"}']
    options += [f'load_from={weights}'] if weights else []
    (tmp_path / 'w.pth').touch()
    cfg = train('--work-dir', str(work_dir), '--resume', *options)
    assert (cfg.resume, cfg.load_from) == expected
    cfg = train('--work-dir', str(work_dir), '--resume', 'epoch_7.pth', *options)
    assert (cfg.resume, cfg.load_from) == (True, 'epoch_7.pth')


@pytest.mark.parametrize(
    ('config', 'options', 'message'),
    [
        ('adapt/adapt_folder', [], 'give: --cfg-options load_from=model.pth'),
        (
            'gcl_folder',
            ['load_from=none.pth'],
            'none.pth (load_from): there is no such',
        ),
    ],
)
def test_a_model_to_begin_with(train, tmp_path, capsys, config, options, message):
    (tmp_path / 'crops').mkdir()
    options = ['--cfg-options', f'data_root={tmp_path / "crops"}', *options]
    config = str(TOOLS.parent / f'configs/{config}.py')
    with pytest.raises(SystemExit) as caught:
        train(*options, config=config)
    assert caught.value.code == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith('train: ') and message in line
    (tmp_path / 'none.pth').touch()
    cfg = train(*options, 'load_from=none.pth', config=config)
    assert cfg.load_from == 'none.pth'


def test_local_rank_of_mpi(train, tmp_path, monkeypatch):
    monkeypatch.setenv('LOCAL_RANK', '')  # what the tool sets goes afterwards
    monkeypatch.delenv('LOCAL_RANK')
    monkeypatch.setenv('OMPI_COMM_WORLD_LOCAL_RANK', '3')
    (tmp_path / 'crops').mkdir()
    train('--cfg-options', f'data_root={tmp_path / "crops"}')
    assert os.environ['LOCAL_RANK'] == '3'


def test_no_workers_do_not_persist(train, tmp_path):
    (tmp_path / 'crops').mkdir()
    root = f'data_root={tmp_path / "crops"}'
    cfg = train('--cfg-options', root, 'train_dataloader.num_workers=0')
    assert not cfg.train_dataloader.persistent_workers
    assert train('--cfg-options', root).train_dataloader.persistent_workers
