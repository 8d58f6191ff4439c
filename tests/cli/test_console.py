# SPDX-License-Identifier: Apache-2.0
"""The command ``mmreid``, in this process; tools are not run."""

import os
import sys
from pathlib import Path

import pytest

from mmreid_gcl import __version__
from mmreid_gcl.cli import console
from mmreid_gcl.config import packaged


def test_without_arguments_it_says_how(capsys):
    assert console.main([]) == 0
    assert capsys.readouterr().out.startswith('usage: mmreid TOOL')


def test_version(capsys):
    assert console.main(['--version']) == 0
    assert __version__ in capsys.readouterr().out


def test_list_with_a_text(capsys):
    assert console.main(['list', 'synthetic']) == 0
    out = capsys.readouterr().out
    names = [line.split()[0] for line in out.splitlines() if line.startswith('  ')]
    everything = [*packaged.tools(), *packaged.configs()]
    assert names == [name for name in everything if 'synthetic' in name]


@pytest.mark.parametrize(
    ('argv', 'message'),
    [
        (['trian', 'gcl_duke'], 'near it are train'),
        (['train', 'x', '--gpus', 'many'], '--gpus many: expected a number'),
        (['train', 'x', '--gpus'], '--gpus : expected a number'),
        (['train', 'x', '--gpus=0'], '--gpus 0: expected a number'),
        (['configs', '--copy'], 'expected: mmreid configs --copy DIR'),
    ],
)
def test_refused(argv, message, capsys):
    assert console.main(argv) == 2
    assert message in capsys.readouterr().err


def test_copy_of_the_configs(tmp_path, capsys):
    target = tmp_path / 'mine'
    assert console.main(['configs', '--copy', str(target)]) == 0
    copied = {path.relative_to(target) for path in target.rglob('*.py')}
    root = packaged.root() / 'configs'
    assert copied == {path.relative_to(root) for path in root.rglob('*.py')}
    assert console.main(['configs', '--copy', str(target)]) == 2
    assert 'is not an empty folder' in capsys.readouterr().err


def test_launch_command(monkeypatch):
    for name in ('NNODES', 'NODE_RANK', 'MASTER_ADDR', 'PORT'):
        monkeypatch.delenv(name, raising=False)
    command = console.launch_command(Path('train.py'), ['gcl_duke', '--amp'], 4)
    assert command[:3] == [sys.executable, '-m', 'torch.distributed.run']
    assert '--nproc_per_node=4' in command and '--nnodes=1' in command
    assert command[-5:] == ['train.py', 'gcl_duke', '--amp', '--launcher', 'pytorch']
    monkeypatch.setenv('NNODES', '2')
    monkeypatch.setenv('NODE_RANK', '1')
    monkeypatch.setenv('MASTER_ADDR', 'first')
    command = console.launch_command(Path('train.py'), [], 8)
    assert {'--nnodes=2', '--node_rank=1', '--master_addr=first'} < set(command)
    assert '--master_port=29500' in command


def test_gpus_start_the_launcher(monkeypatch):
    started = []

    def execve(program, command, environment):
        started.append((program, command, environment))
        raise SystemExit

    monkeypatch.setattr(os, 'execve', execve)
    with pytest.raises(SystemExit):
        console.main(['train', 'gcl_duke', '--gpus', '2', '--resume'])
    ((program, command, environment),) = started
    assert program == sys.executable and '--nproc_per_node=2' in command
    assert command[-4:] == ['gcl_duke', '--resume', '--launcher', 'pytorch']
    # the processes find the package that was started
    assert str(packaged.root()) in environment['PYTHONPATH'].split(os.pathsep)
