# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmengine.config import Config

from .conftest import TOOLS

FOLDER = str(TOOLS.parent / 'configs' / 'gcl_folder.py')


def test_browse(load_tool, crops, tmp_path, capsys):
    out = tmp_path / 'sheet.png'
    options = [f'--out={out}', '--images=3', '--draws=4']
    code = load_tool('browse_dataset').main(
        [FOLDER, *options, '--cfg-options', f'data_root={crops}']
    )
    assert code == 0
    assert 'PersonFolder, train: 3 of 30 images, 4 draws of each' in (
        capsys.readouterr().out
    )
    assert cv2.imread(str(out)).std() > 10


def test_what_is_shown_is_what_the_pipeline_makes(load_tool, crops):
    tool = load_tool('browse_dataset')
    cfg = Config.fromfile(FOLDER)
    cfg.train_dataloader.dataset.data_root = str(crops)
    cfg.train_dataloader.dataset.pipeline = [
        dict(type='LoadImageFromFile'),
        dict(type='RandomFlip', prob=0.5, direction='horizontal'),
        dict(type='PackInputs'),
    ]
    dataset = tool.build_dataset(cfg, 'train')
    samples = tool.draw_samples(dataset, 4, 12, seed=0)
    assert len({sample['img_path'] for sample, _ in samples}) == 4
    flips = 0
    for sample, versions in samples:
        original = cv2.imread(sample['img_path'])[..., ::-1]
        for version in versions:
            as_it_is = np.array_equal(version, original)
            assert as_it_is or np.array_equal(version, original[:, ::-1])
            flips += not as_it_is
    assert 10 < flips < 38
    assert {sample['camera'] for sample, _ in samples} <= {'entrance', 'hall'}
    texts = tool.sheet(samples, 'x').axes[0].texts
    name = Path(samples[0][0]['img_path']).name
    assert any(
        t.get_text().startswith(f'{name}, {samples[0][0]["camera"]}, ') for t in texts
    )
    again = tool.draw_samples(dataset, 4, 12, seed=0)
    for (_, one), (_, two) in zip(samples, again):
        assert all(np.array_equal(a, b) for a, b in zip(one, two))
    assert len(tool.draw_samples(dataset, 1000, 1, seed=0)) == 30


def test_browse_refuses(load_tool, crops, tmp_path, capsys):
    browse = load_tool('browse_dataset').main
    root = ['--cfg-options', f'data_root={crops}']
    out = f'--out={tmp_path / "a.png"}'
    assert browse([FOLDER, out, '--phase=val', *root]) == 2
    assert 'no val_dataloader' in capsys.readouterr().err
    assert browse([FOLDER, out, '--cfg-options', f'data_root={tmp_path}/none']) == 2
    assert 'none: no such folder' in capsys.readouterr().err
    assert browse([FOLDER, '--out=a.docx', '--images=1', *root]) == 2
    assert 'a.docx' in capsys.readouterr().err
    wrong = [*root, 'train_dataloader.dataset.colour=1']
    assert browse([FOLDER, out, *wrong]) == 2
    assert 'colour' in capsys.readouterr().err
    (crops / 'hall' / '00_0.png').write_bytes(b'x')
    assert browse([FOLDER, out, '--images=100', '--draws=1', *root]) == 3
    captured = capsys.readouterr()
    assert '29 of 30 images' in captured.out
    assert captured.err.count('left out: ') == 1
    assert '00_0.png: this image cannot be decoded' in captured.err
    for file in crops.rglob('*.png'):
        file.write_bytes(b'x')
    assert browse([FOLDER, f'--out={tmp_path / "b.png"}', *root]) == 2
    assert 'this image cannot be decoded' in capsys.readouterr().err
    assert not (tmp_path / 'b.png').exists()


def test_print_config(load_tool, tmp_path, capsys):
    code = load_tool('print_config').main(
        [FOLDER, '--cfg-options', 'data_root=my crops', 'model.neck.pooling=gem']
    )
    assert code == 0
    cfg = Config.fromstring(capsys.readouterr().out, '.py')
    assert cfg.train_dataloader.dataset.data_root == 'my crops'
    assert cfg.test_dataloader.dataset.data_root == 'my crops'
    assert cfg.model.neck.pooling == 'gem'
    assert cfg.train_dataloader.batch_size == 128
    assert load_tool('print_config').main(['none.py']) == 2
    assert 'none.py' in capsys.readouterr().err


@pytest.mark.parametrize(
    ('tool', 'arguments', 'option'),
    [
        ('data/check', ['PersonFolder', 'crops'], 'options'),
        ('experiments', ['table', 'table2'], 'cfg_options'),
        ('dataset_converters/to_market_layout', ['MSMT17', 'in', 'out'], 'options'),
    ],
)
def test_options_of_all_tools_keep_paths_as_they_are(
    load_tool, tool, arguments, option
):
    flag = f'--{option.replace("_", "-")}'
    text = ['data_root=my crops, 2024', 'x.pattern=c(?P<camera>[0-9]+),', 'n=3']
    args = load_tool(tool).parse_args([*arguments, flag, *text])
    assert getattr(args, option) == {
        'data_root': 'my crops, 2024',
        'x.pattern': 'c(?P<camera>[0-9]+),',
        'n': 3,
    }


def test_options_of_figures_keep_paths_as_they_are(load_tool):
    parser = load_tool('analysis/_model').parser('A figure.', 'figure.png')
    args = parser.parse_args(['a.py', 'b', '--cfg-options', 'data_root=my, crops'])
    assert args.cfg_options == {'data_root': 'my, crops'}
