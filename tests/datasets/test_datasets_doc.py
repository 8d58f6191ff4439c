# SPDX-License-Identifier: Apache-2.0
"""The code blocks of docs/datasets.md work."""

import re
from pathlib import Path

from mmengine.config import Config

from mmreid_gcl.datasets import PersonFolder

from .layouts import write_image

DOC = Path(__file__).parents[2] / 'docs' / 'datasets.md'
BLOCKS = re.findall(r'```(\w+)\n(.*?)```', DOC.read_text(encoding='utf-8'), re.S)


def block(*parts):
    """The only code block that holds all of some texts."""
    (found,) = [code for _, code in BLOCKS if all(part in code for part in parts)]
    return found


def build(code, root):
    cfg = Config.fromstring(code, '.py')
    config = cfg.get('dataset') or cfg.train_dataloader.dataset
    assert config.pop('type') == 'PersonFolder'
    return PersonFolder(**{**config, 'data_root': str(root)})


def test_folder(tmp_path):
    write_image(tmp_path / 'entrance' / '000001.jpg')
    assert len(build(block('train_dataloader'), tmp_path)) == 1


def test_pattern(tmp_path):
    code = block('pattern=')
    (example,) = re.findall(r'# crops/(.*)', code)
    write_image(tmp_path / example)
    dataset = build(code, tmp_path)
    assert dataset.metainfo['cameras'] == ['07']
    assert dataset.column('frame').tolist() == [1709294701000]


def test_table(tmp_path):
    table = block('path,split,camera,time,pid')
    (tmp_path / 'images.csv').write_text(table)
    for line in table.splitlines()[1:]:
        write_image(tmp_path / line.split(',')[0])
    assert build(block('annotation='), tmp_path).column('pid').tolist() == [-1]


def test_another_benchmark(tmp_path):
    namespace = {}
    exec(block('class MyBenchmark'), namespace)
    write_image(tmp_path / 'my-benchmark-v1' / 'probe' / '0007_c3_0001.jpg')
    dataset = namespace['MyBenchmark'](tmp_path, split='query')
    assert dataset.column('pid').tolist() == [7]
    assert dataset.column('camid').tolist() == [2]
