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


def test_several_folders(tmp_path):
    from mmreid_gcl.registry import DATASETS

    code = block("type='ConcatDataset'").replace('_base_.train_pipeline', '[]')
    config = Config.fromstring(code, '.py').dataset.to_dict()
    del config['_delete_']
    for item in config['datasets']:
        item['data_root'] = str(tmp_path / item['data_root'])
        write_image(tmp_path / item['data_root'] / 'hall' / '1.jpg')
    config['type'] = f'mmreid_gcl.{config["type"]}'
    for item in config['datasets']:
        item['type'] = f'mmreid_gcl.{item["type"]}'
    assert DATASETS.build(config).column('camid').tolist() == [0, 1]


def test_tools_that_are_named_exist():
    root = DOC.parents[1]
    for name in re.findall(r'(?:tools|configs)/[\w/]+\.py', DOC.read_text('utf-8')):
        assert (root / name).is_file(), name
