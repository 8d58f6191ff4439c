# SPDX-License-Identifier: Apache-2.0
"""What tools/train.py says before it builds anything."""

import pytest

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

    def call(*words):
        monkeypatch.setattr('sys.argv', ['train.py', CONFIG, *words])
        tool.main()
        return seen[-1]

    return call


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


def test_a_home_folder(train, tmp_path):
    (tmp_path / 'crops').mkdir()
    cfg = train('--cfg-options', 'data_root=~/crops')
    assert cfg.train_dataloader.dataset.data_root == '~/crops'
