# SPDX-License-Identifier: Apache-2.0
import csv
import json
import os
import shutil

import numpy as np
import pytest
from PIL import Image


@pytest.fixture(scope='module')
def check(load_tool):
    return load_tool('data/check')


@pytest.fixture
def save():
    random = np.random.default_rng(0)

    def save(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 256, (64, 32, 3), np.uint8)).save(path)
        return path

    return save


@pytest.fixture
def market(tmp_path, save):
    root = tmp_path / 'Market-1501-v15.09.15'
    for name in (
        'bounding_box_train/0002_c1s1_000001_00.jpg',
        'bounding_box_train/0002_c2s1_000001_00.jpg',
        'query/0001_c1s1_000001_00.jpg',
        'bounding_box_test/0001_c2s1_000001_00.jpg',
        'bounding_box_test/0000_c2s1_000002_00.jpg',
    ):
        save(root / name)
    return root


def test_a_good_set(check, market, tmp_path, capsys):
    out = tmp_path / 'images.csv'
    assert check.main(['Market1501', str(market), '--out', str(out)]) == 0
    printed = capsys.readouterr().out
    lines = [line.split() for line in printed.splitlines()]
    sizes = ['64', '/', '64', '/', '64', '32', '/', '32', '/', '32']
    assert ['train', '2', '1', '0', '2', *sizes] in lines
    assert ['gallery', '2', '2', '0', '1', *sizes] in lines
    assert ['camera', '=', 'camid', 'train', 'query', 'gallery'] in lines
    assert ['c2', '=', '1', '1', '0', '2'] in lines
    assert printed.endswith('5 images read: good.\n')
    with open(out, encoding='utf-8') as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 5
    (query,) = [row for row in rows if row['split'] == 'query']
    assert query['path'] == str(market / 'query' / '0001_c1s1_000001_00.jpg')
    assert [query[name] for name in ('pid', 'camid', 'width', 'height', 'errors')] == [
        '1',
        '0',
        '32',
        '64',
        '',
    ]


def test_everything_wrong(check, market, save, tmp_path, capsys):
    train = market / 'bounding_box_train'
    one = train / '0002_c1s1_000001_00.jpg'
    (train / '0005_c1s1_000001_00.jpg').write_bytes(b'')
    (train / '0006_c1s1_000001_00.jpg').write_bytes(b'text')
    (train / '0007_c1s1_000001_00.jpg').write_bytes(one.read_bytes()[:700])
    shutil.copy(one, market / 'bounding_box_test' / '0009_c1s1_000001_00.jpg')
    other = train / '0002_c2s1_000001_00.jpg'
    shutil.copy(other, train / '0003_c2s1_000009_00.jpg')
    shutil.copy(other, train / '0002_c2s1_000009_00.jpg')
    save(market / 'query' / '0042_c1s1_000001_00.jpg')
    out = tmp_path / 'images.csv'
    assert check.main(['Market1501', str(market), '--out', str(out)]) == 1
    printed = capsys.readouterr().out
    for line in (
        'ERROR: zero bytes (1)',
        'ERROR: no image, or a format that cannot be read (1)',
        'ERROR: truncated (1)',
        'ERROR: the same image in train and test (1)',
        'ERROR: the same image under two identities (1)',
        'remark: the same image twice in one split (1)',
        'remark: query without a match in another camera (left out of the scores) (1)',
    ):
        assert line in printed.splitlines()
    assert f'    {train / "0005_c1s1_000001_00.jpg"}\n' in printed
    assert '    ' + str(market / 'query' / '0042_c1s1_000001_00.jpg') in printed
    assert printed.endswith('12 images read: 5 errors.\n')
    with open(out, encoding='utf-8') as file:
        errors = [row['errors'] for row in csv.DictReader(file)]
    assert sum(map(bool, errors)) == 3
    assert 'zero bytes' in errors


def test_a_part_that_cannot_be_listed(check, market, capsys):
    (market / 'query' / 'selfie.jpg').write_bytes(b'')
    assert check.main(['Market1501', str(market)]) == 1
    printed = capsys.readouterr().out
    assert f'ERROR: query: {market / "query" / "selfie.jpg"}: cannot parse' in printed
    assert '4 images read: 1 error.' in printed  # train and gallery all the same


def test_nothing_to_evaluate(check, market, capsys):
    path = market / 'bounding_box_test' / '0001_c2s1_000001_00.jpg'
    path.rename(path.with_name('0001_c1s1_000009_00.jpg'))
    assert check.main(['Market1501', str(market)]) == 1
    assert 'no query has a match in another camera' in capsys.readouterr().out


def test_a_folder_without_labels(check, save, tmp_path, capsys):
    for name in ('a/1.jpg', 'a/2.jpg', 'A/1.jpg'):
        save(tmp_path / name)
    arguments = ['PersonFolder', str(tmp_path), '--options', 'order_by_name=False']
    assert check.main(arguments) == 0
    printed = capsys.readouterr().out
    assert 'No query images' in printed
    assert 'no times' not in printed  # nothing uses them
    assert 'remark: names that differ in upper and lower case only (1)' in printed


@pytest.mark.parametrize('order', ['camera_time', 'random'])
@pytest.mark.parametrize('by_name', [None, False, True])
def test_times_matter_where_graphs_use_them(
    check, save, tmp_path, capsys, order, by_name
):
    save(tmp_path / 'crops' / 'cam2' / '1.jpg')
    save(tmp_path / 'crops' / 'cam10' / '1.jpg')
    data = dict(type='PersonFolder', data_root=str(tmp_path / 'crops'))
    data['order_by_name'] = by_name
    hook = dict(type='PseudoLabelHook', clusterer=dict(type='DBSCANClusterer'))
    hook['graphs'] = dict(type='OrderedGraphs', order=order)
    config = tmp_path / 'config.py'
    config.write_text(
        f'train_dataloader = dict(batch_size=4, dataset={data!r})\n'
        f'default_hooks = dict(pseudo_labels={hook!r})\n'
        'model = dict(relation_neck=dict(type="GCLNeck"))\n'
    )
    out = tmp_path / 'a.csv'
    assert check.main([str(config), f'--out={out}']) == 0
    printed = capsys.readouterr().out
    remarks = {None: 'natural order of names is taken', False: 'one by camera alone'}
    for value, text in remarks.items():
        assert (text in printed) == (order == 'camera_time' and value is by_name)
    assert 'cam2 = 0' in printed and 'cam10 = 1' in printed
    with open(out, encoding='utf-8') as file:
        assert [row['camera'] for row in csv.DictReader(file)] == ['cam2', 'cam10']


def test_labelled_people_alone(check, save, tmp_path, capsys):
    """The layout of docs/own_data.md for a first number: no training images."""
    save(tmp_path / 'query' / 'entrance' / 'person-1' / '1.jpg')
    save(tmp_path / 'gallery' / 'hall' / 'person-1' / '2.jpg')
    assert check.main(['PersonFolder', str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert 'No train images, so no training' in printed
    assert printed.endswith('2 images read: good.\n')


def test_no_images_at_all(check, tmp_path, capsys):
    assert check.main(['PersonFolder', str(tmp_path)]) == 1
    assert 'found none' in capsys.readouterr().out


def test_a_broken_link_among_the_queries(check, save, tmp_path, capsys):
    """Not taken for queries that nobody needs."""
    save(tmp_path / 'hall' / '1.jpg')
    save(tmp_path / 'query' / 'hall' / '7' / '1.jpg')
    (tmp_path / 'query' / 'hall' / '7' / '2.jpg').symlink_to('nowhere')
    assert check.main(['PersonFolder', str(tmp_path)]) == 1
    assert 'a link to nothing' in capsys.readouterr().out


def test_a_config_needs_the_splits_that_it_names(check, save, tmp_path, capsys):
    save(tmp_path / 'hall' / '1.jpg')
    config = tmp_path / 'config.py'
    dataset = dict(type='PersonFolder', data_root=str(tmp_path), split='test')
    config.write_text(f'val_dataloader = dict(batch_size=4, dataset={dataset!r})\n')
    assert check.main([str(config)]) == 1
    assert 'expected query images, found none' in capsys.readouterr().out


def test_splits_and_thumbnails_are_no_crops(check, save, tmp_path, capsys):
    for name in (
        'train/a/1.jpg',
        'train/a/@eaDir/1.jpg',
        'val/a/1.jpg',
        'test/A/1.jpg',
    ):
        save(tmp_path / name)
    assert check.main(['PersonFolder', str(tmp_path)]) == 0
    assert '1 images read: good.' in capsys.readouterr().out


def test_a_missing_folder(check, tmp_path, capsys):
    assert check.main(['PersonFolder', str(tmp_path / 'nowhere')]) == 1
    assert 'nowhere: no such folder' in capsys.readouterr().out


def test_a_config(check, market, tmp_path, capsys):
    config = tmp_path / 'config.py'
    config.write_text(
        'train_dataloader = dict(batch_size=2, dataset=dict('
        f'type="Market1501", data_root={str(market)!r}, split="train"))\n'
        'val_dataloader = dict(batch_size=2, dataset=dict('
        f'type="Market1501", data_root={str(market)!r}, split="test", '
        'test_mode=True))\n'
        'test_dataloader = val_dataloader\n'
    )
    assert check.main([str(config)]) == 0
    assert '5 images read: good.' in capsys.readouterr().out


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['Market1502', 'x'], 'The types are CUHK03,'),
        (['Market1501'], 'needs the folder'),
        (['nowhere.py'], 'no such config file'),
        (['Market1501', 'x', '--out', 'no/such/folder/x.csv'], 'there is no folder'),
    ],
)
def test_wrong_arguments(check, capsys, arguments, message):
    with pytest.raises(SystemExit) as caught:
        check.main(arguments)
    assert caught.value.code == 2
    assert message in capsys.readouterr().err


def test_names_that_no_terminal_shows(check, tmp_path, save, capsys, monkeypatch):
    try:
        path = os.fsdecode(os.fsencode(str(tmp_path / 'a' / 'x')) + b'\xff.jpg')
        save(tmp_path / 'a' / '1.jpg').rename(path)
    except OSError:
        pytest.skip('this file system takes UTF-8 names only')
    assert check.main(['PersonFolder', str(tmp_path)]) == 0
    assert 'broken encoding' in capsys.readouterr().out


def test_several_data_sets_in_one(check, save, tmp_path, capsys):
    config = tmp_path / 'config.py'
    parts = [dict(type='PersonFolder', data_root=str(tmp_path / n)) for n in 'ab']
    dataset = dict(type='ConcatDataset', split='train', datasets=parts)
    config.write_text(f'train_dataloader = dict(batch_size=4, dataset={dataset!r})\n')
    for n in 'ab':
        save(tmp_path / n / 'hall' / '1.jpg')
        save(tmp_path / n / 'hall' / '2.jpg')
    assert check.main([str(config)]) == 0
    assert '4 images read' in capsys.readouterr().out
    (tmp_path / 'b' / 'hall' / '2.jpg').write_bytes(b'')
    assert check.main([str(config)]) == 1
    assert 'zero bytes' in capsys.readouterr().out
    assert check.main([str(config), str(tmp_path)]) == 2
    assert 'joins several data sets' in capsys.readouterr().err


@pytest.mark.parametrize('text', ['x = (', 'x = nothing', '_base_ = "none.py"'])
def test_a_broken_config(check, tmp_path, capsys, text):
    config = tmp_path / 'config.py'
    config.write_text(text)
    assert check.main([str(config)]) == 2
    assert 'config.py' in capsys.readouterr().err


def test_packaged_config_needs_only_what_training_needs(check, save, tmp_path, capsys):
    """By name; gcl_folder trains without labels, test.py alone wants some."""
    save(tmp_path / 'crops' / 'hall' / '1.jpg')
    assert check.main(['gcl_folder', str(tmp_path / 'crops')]) == 0
    assert 'No test images, so no evaluation' in capsys.readouterr().out
    save(tmp_path / 'labelled' / 'query' / 'a' / 'person-1' / '1.jpg')
    save(tmp_path / 'labelled' / 'gallery' / 'b' / 'person-1' / '2.jpg')
    assert check.main(['gcl_folder', str(tmp_path / 'labelled')]) == 0
    # a training that evaluates would stop
    config = tmp_path / 'config.py'
    parts = [
        f'{n}_dataloader = dict(batch_size=4, dataset=dict(type="PersonFolder", '
        f'data_root={str(tmp_path / "crops")!r}, split={split!r}))\n'
        for n, split in (('train', 'train'), ('val', 'test'))
    ]
    config.write_text(''.join(parts))
    assert check.main([str(config)]) == 1
    assert 'expected query images, found none' in capsys.readouterr().out


def test_json(check, market, capsys):
    (market / 'query' / '0001_c1s1_000001_00.jpg').write_bytes(b'')
    assert check.main(['Market1501', str(market), '--json']) == 1
    found = json.loads(capsys.readouterr().out)
    assert found['good'] is False and found['images'] == 5
    train = dict(images=2, identities=1, unlabelled=0, cameras=2)
    assert found['splits']['train'] == train
    assert list(found['errors']) == ['zero bytes']
