# SPDX-License-Identifier: Apache-2.0
import argparse

import numpy as np
import pytest

from mmreid_gcl.apis.images import Thumbnails
from mmreid_gcl.cli.command_line import (
    DONE,
    REFUSED,
    SKIPPED,
    add_config_options,
    checkpoint_argument,
    exit_code,
    run_tool,
)
from tests.apis.tiny import draw, write


def test_a_work_dir_stands_for_its_last_checkpoint(tmp_path):
    work_dir = tmp_path / 'moved'
    work_dir.mkdir()
    (work_dir / 'epoch_2.pth').touch()
    pointer = work_dir / 'last_checkpoint'
    for text in ('a.pth', 'torchvision://resnet50', 'untrained', 'x' * 999):
        assert checkpoint_argument(text) == text
    assert checkpoint_argument(str(work_dir)) == str(work_dir)  # it has none
    pointer.write_text('/old/place/epoch_2.pth')
    for text in (str(work_dir), str(pointer)):
        assert checkpoint_argument(text) == str(work_dir / 'epoch_2.pth')
    assert checkpoint_argument(str(work_dir / 'b.pth')) == str(work_dir / 'b.pth')
    pointer.write_text('')
    with pytest.raises(argparse.ArgumentTypeError, match=r'moved/last_.*empty'):
        checkpoint_argument(str(work_dir))


def parse(*values):
    parser = argparse.ArgumentParser()
    add_config_options(parser)
    return parser.parse_args(['--cfg-options', *values]).cfg_options


def test_config_options():
    found = parse(
        'data_root=my crops, 2024',
        'a.dataset.data_root=2024',
        r'a.pattern=c(?P<camera>[0-9]+)_',
        'load_from=None',
        'model.topk=4',
        'scale=(32,16)',
        'x=a=b',
    )
    assert found == {
        'data_root': 'my crops, 2024',
        'a.dataset.data_root': '2024',
        'a.pattern': r'c(?P<camera>[0-9]+)_',
        'load_from': None,
        'model.topk': 4,
        'scale': (32, 16),
        'x': 'a=b',
    }


@pytest.mark.parametrize('value', ['data_root', '=3', 'data_root crops'])
def test_no_option(value, capsys):
    with pytest.raises(SystemExit):
        parse(value)
    assert f'{value}: expected key=value' in capsys.readouterr().err


def test_exit_codes(capsys):
    def fail(argv):
        raise FileNotFoundError('crops: no such folder')

    assert run_tool('tool', lambda argv: DONE, []) == DONE
    assert run_tool('tool', fail, []) == REFUSED
    assert capsys.readouterr().err == 'tool: crops: no such folder\n'
    assert exit_code({}) == DONE and exit_code({'a': 'a: bad'}) == SKIPPED
    assert capsys.readouterr().err == 'left out: a: bad\n'
    with pytest.raises(ZeroDivisionError):
        run_tool('tool', lambda argv: 1 // 0, [])


def test_thumbnails_are_red_green_blue(tmp_path):
    path = write(tmp_path / 'a.png', draw(1))
    images = Thumbnails([str(path)] * 3)
    assert len(images) == 3 and np.array_equal(images[2], draw(1)[..., ::-1])
