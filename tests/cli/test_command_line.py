# SPDX-License-Identifier: Apache-2.0
import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mmreid_gcl.apis.images import Thumbnails
from mmreid_gcl.cli.command_line import (
    DONE,
    REFUSED,
    SKIPPED,
    add_config_options,
    add_json_option,
    checkpoint_argument,
    exit_code,
    show_result,
    tool,
)
from mmreid_gcl.config import packaged
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

    assert tool(lambda argv: DONE)([]) == DONE
    assert tool(fail)([]) == REFUSED
    assert capsys.readouterr().err == 'test_command_line: crops: no such folder\n'
    assert exit_code({}) == DONE and exit_code({'a': 'a: bad'}) == SKIPPED
    assert capsys.readouterr().err == 'left out: a: bad\n'
    with pytest.raises(ZeroDivisionError):
        tool(lambda argv: 1 // 0)([])

    def stop(argv):
        raise KeyboardInterrupt

    assert tool(stop)([]) == 130
    assert capsys.readouterr().err == 'test_command_line: interrupted\n'


def test_thumbnails_are_red_green_blue(tmp_path):
    path = write(tmp_path / 'a.png', draw(1))
    images = Thumbnails([str(path)] * 3)
    assert len(images) == 3 and np.array_equal(images[2], draw(1)[..., ::-1])


def test_json_alone_is_on_stdout(capsys):
    @tool
    def main(argv):
        parser = argparse.ArgumentParser()
        add_json_option(parser)
        args = parser.parse_args(argv)
        print('a line for people')
        values = dict(n=np.int64(3), rows=np.arange(2), path=Path('a'), none=None)
        show_result(args, values)
        return DONE

    stdout = sys.stdout
    assert main(['--json']) == DONE
    assert sys.stdout is stdout
    captured = capsys.readouterr()
    assert json.loads(captured.out) == dict(n=3, rows=[0, 1], path='a', none=None)
    assert captured.err == 'a line for people\n'
    assert main([]) == DONE
    assert capsys.readouterr().out == 'a line for people\n'


def test_json_into_a_file(tmp_path, capsys):
    parser = argparse.ArgumentParser()
    add_json_option(parser, file=True)
    args = parser.parse_args(['--json', str(tmp_path / 'new' / 'a.json')])
    show_result(args, dict(a=1))
    assert json.loads((tmp_path / 'new' / 'a.json').read_text()) == dict(a=1)
    assert capsys.readouterr().out == ''


TOOL = """
import logging, sys
from mmreid_gcl.cli.command_line import tool
@tool
def main(argv):
    logging.basicConfig(stream=sys.stdout, level=logging.INFO)
    for i in range(9999):
        print('many lines', i)
        logging.info('and of a log')
    print('done', file=sys.stderr)
    return 0
sys.exit(main([]))
"""


@pytest.mark.parametrize(
    ('command', 'err'),
    [(['-c', TOOL], 'done\n'), (['-m', 'mmreid_gcl', 'list'], '')],
)
def test_a_reader_that_stops(command, err):
    """As with ``| head``; the tool does its work all the same."""
    read, write = os.pipe()
    os.close(read)
    try:
        done = subprocess.run(
            [sys.executable, *command], stdout=write, stderr=subprocess.PIPE, text=True
        )
    finally:
        os.close(write)
    assert (done.returncode, done.stderr) == (0, err)


def test_every_tool_has_json():
    """But those that serve, measure or attack and have files of their own."""
    without = {'gallery_app', 'serve', 'demo', 'fuzz'}
    for name, path in packaged.tools().items():
        if name not in without and not name.startswith('benchmarks/'):
            text = path.read_text()
            own = 'add_json_option(' in text and 'show_result(' in text
            assert own or 'from _model import parser' in text, name
