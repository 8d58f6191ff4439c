# SPDX-License-Identifier: Apache-2.0
"""VeRi-776, and benchmarks in the layout of Market-1501."""

import json

import pytest

from mmreid_gcl.datasets import MSMT17, Market1501, VeRi776
from mmreid_gcl.datasets.conversion import convert_to_market

from .layouts import samples_of, write_image, write_images


def write_veri(root):
    write_images(
        root / 'image_train', ['0001_c001_00016450_0.jpg', '0776_c020_00000005_12.jpg']
    )
    write_images(root / 'image_query', ['0002_c002_00030600_0.jpg'])
    names = ['0002_c002_00030600_0.jpg', '0002_c019_00030605_1.jpg']
    write_images(root / 'image_test', names)
    return root


def write_msmt17(root):
    lists = {'train': {}, 'test': {}}
    names = {
        'list_train.txt': ('train', [('0000/0000_000_01_0303morning_0008_0.jpg', 0)]),
        'list_val.txt': ('train', [('0001/0001_000_15_0302noon_0021_1_ex.jpg', 1)]),
        'list_query.txt': ('test', [('0000/0000_000_02_0303noon_0009_0.jpg', 0)]),
        'list_gallery.txt': (
            'test',
            [
                ('0000/0000_001_03_0303noon_0009_0.jpg', 0),
                ('0000/0000_002_03_0303noon_0009_1.jpg', 0),
            ],
        ),
    }
    for value, (list_name, (side, lines)) in enumerate(names.items()):
        text = ''.join(f'{path} {pid}\n' for path, pid in lines)
        (root).mkdir(parents=True, exist_ok=True)
        (root / list_name).write_text(text)
        for i, (path, _) in enumerate(lines):
            write_image(root / side / path, value=20 * value + i)
    return lists and root


def test_veri776(tmp_path, log_lines):
    write_veri(tmp_path / 'VeRi')
    train = samples_of(VeRi776(str(tmp_path)))
    assert [(s['pid'], s['camid'], s['frame']) for s in train] == [
        (1, 0, 16450),
        (776, 19, 5),
    ]
    test = samples_of(VeRi776(str(tmp_path), split='test'))
    assert [(s['pid'], s['camid'], s['is_query']) for s in test] == [
        (2, 1, True),
        (2, 1, False),
        (2, 18, False),
    ]
    warnings = [line for level, line in log_lines if level == 'WARNING']
    assert any('37,778 images, 576 identities.' in line for line in warnings)
    write_image(tmp_path / 'VeRi' / 'image_query' / '0002_c002.jpg')
    with pytest.raises(ValueError, match=r'0001_c001_00016450_0\.jpg'):
        VeRi776(str(tmp_path), split='query')


def test_counts_without_cameras():
    from mmreid_gcl.datasets.benchmark import Counts

    assert Counts(3, 2, 7).fits(Counts(3, 2))
    assert not Counts(3, 1, 7).fits(Counts(3, 2))
    assert not Counts(3, 2, 7).fits(Counts(3, 2, 8))
    assert str(Counts(3000, 2)) == '3,000 images, 2 identities'


@pytest.mark.parametrize('mode', ['copy', 'hardlink', 'symlink'])
def test_msmt17_in_the_layout_of_market(tmp_path, mode):
    source = write_msmt17(tmp_path / 'MSMT17_V1')
    out = tmp_path / 'flat'
    counts = convert_to_market(MSMT17, source, out, mode, progress=False)
    assert counts == {'train': 2, 'query': 1, 'gallery': 2}
    # identity 0 is a person here, and would be a distractor there
    assert json.loads((out / 'conversion.json').read_text())['added_to_identities'] == 1
    for part in ('train', 'query', 'gallery'):
        before = samples_of(MSMT17(str(source), split=part))
        after = samples_of(Market1501(str(out), split=part))
        keys = ('camid', 'sequence', 'frame', 'is_query')
        assert sorted([s['pid'] + 1, *(s[k] for k in keys)] for s in before) == sorted(
            [s['pid'], *(s[k] for k in keys)] for s in after
        )
    image = out / 'bounding_box_test' / '0001_c3s3031_000009_01.jpg'
    original = source / 'test' / '0000' / '0000_002_03_0303noon_0009_1.jpg'
    assert image.read_bytes() == original.read_bytes()
    assert image.is_symlink() == (mode == 'symlink')
    assert image.samefile(original) == (mode != 'copy')


def test_tool(load_tool, tmp_path, capsys):
    write_veri(tmp_path / 'VeRi')
    tool = load_tool('dataset_converters/to_market_layout')
    out = tmp_path / 'out'
    assert tool.main(['VeRi776', str(tmp_path), str(out)]) == 0
    assert 'train 2, query 1, gallery 2' in capsys.readouterr().out
    names = sorted(path.name for path in (out / 'bounding_box_train').iterdir())
    assert names == ['0001_c1s0_016450_00.jpg', '0776_c20s0_000005_00.jpg']
    assert json.loads((out / 'conversion.json').read_text())['added_to_identities'] == 0
    assert tool.main(['VeRi776', str(tmp_path), str(out)]) == 2
    assert '--overwrite' in capsys.readouterr().err
    assert tool.main(['VeRi776', str(tmp_path), str(out), '--overwrite']) == 0
    assert tool.main(['VeRi776', str(tmp_path / 'no'), str(tmp_path / 'x')]) == 2
    assert 'no such folder' in capsys.readouterr().err
    with pytest.raises(SystemExit):
        tool.main(['PersonFolder', str(tmp_path), str(out)])
