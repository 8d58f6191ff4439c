# SPDX-License-Identifier: Apache-2.0
"""CUHK03: the converter and the data set that reads what it writes."""

import json
import sys

import cv2
import numpy as np
import pytest
from scipy.io import savemat

from mmreid_gcl.datasets import CUHK03
from mmreid_gcl.datasets.checksums import compare_checksums
from mmreid_gcl.datasets.conversion import convert_cuhk03, read_protocol

from .layouts import samples_of, write_images

h5py = pytest.importorskip('h5py')
TOOL = 'dataset_converters/cuhk03'

#: (pair, person, number) of the crops that exist; numbers 6 to 10 are view 2.
THERE = [(1, 1, 1), (1, 1, 6), (1, 2, 2), (1, 2, 7), (1, 2, 8), (5, 3, 1), (5, 3, 10)]
FILES = [f'{p}_{q:03d}_{1 if n < 6 else 2}_{n:02d}.png' for p, q, n in THERE]
PIDS = [4, 4, 9, 9, 9, 1467, 1467]
TRAIN, QUERY, GALLERY = [0, 1], [3, 5], [2, 4, 6]


def crop(pair, person, number):
    """Height, width and colour tell the crops apart."""
    rng = np.random.default_rng([pair, person, number])
    return rng.integers(0, 256, (6 + person, 2 + number, 3), np.uint8)


def write_mat(path, crops=('labeled', 'detected')):
    """As MATLAB 7.3 writes it: cells are references, axes are reversed."""
    with h5py.File(path, 'w') as file:
        store = file.create_group('#refs#')
        empty = store.create_dataset('empty', data=np.zeros(2, np.uint64))
        for name in crops:
            pairs = file.create_dataset(name, (1, 5), h5py.ref_dtype)
            for pair in range(1, 6):
                cell = store.create_dataset(f'{name}{pair}', (10, 3), h5py.ref_dtype)
                for person in range(1, 4):
                    for number in range(1, 11):
                        if (pair, person, number) in THERE:
                            key = f'{name}_{pair}_{person}_{number}'
                            pixels = crop(pair, person, number)
                            image = store.create_dataset(key, data=pixels.T)
                        else:
                            image = empty
                        cell[number - 1, person - 1] = image.ref
                pairs[0, pair - 1] = cell.ref


def write_split(path, files=FILES):
    cells = np.empty((len(files), 1), object)
    for i, name in enumerate(files):
        cells[i, 0] = name
    columns = {
        'filelist': cells,
        'labels': np.array(PIDS)[:, None].astype(np.uint16),
        'camId': np.array([[int(name[6])] for name in FILES], np.uint8),
    }
    for part, rows in (('train', TRAIN), ('query', QUERY), ('gallery', GALLERY)):
        columns[f'{part}_idx'] = np.array(rows)[:, None].astype(np.uint16) + 1
    savemat(path, columns)


@pytest.fixture
def release(tmp_path):
    folder = tmp_path / 'data' / 'cuhk03_release'
    folder.mkdir(parents=True)
    write_mat(folder / 'cuhk-03.mat')
    for crops in ('labeled', 'detected'):
        write_split(folder.parent / f'cuhk03_new_protocol_config_{crops}.mat')
    return folder


def test_tool_writes_what_the_data_set_reads(load_tool, release, tmp_path, capsys):
    out = tmp_path / 'cuhk03'
    assert load_tool(TOOL).main([str(release), str(out)]) == 0
    assert 'labeled: train 2, query 2, gallery 3' in capsys.readouterr().out
    for crops in ('labeled', 'detected'):
        test = samples_of(CUHK03(str(out), crops=crops, split='test'))
        assert [(s['pid'], s['camid'], s['is_query']) for s in test] == [
            *((9, 1, True), (1467, 0, True)),
            *((9, 0, False), (9, 1, False), (1467, 1, False)),
        ]
        assert {s['sequence'] for s in test} == {s['frame'] for s in test} == {-1}
        assert [s['pid'] for s in samples_of(CUHK03(str(out), crops=crops))] == [4, 4]
    image = out / 'detected' / 'query' / '0009_c2_1_002_07.png'
    assert np.array_equal(cv2.imread(str(image))[..., ::-1], crop(1, 2, 7))
    record = json.loads((out / 'conversion.json').read_text())
    assert set(record['source_sha256']) == {
        'cuhk-03.mat',
        'cuhk03_new_protocol_config_labeled.mat',
        'cuhk03_new_protocol_config_detected.mat',
    }
    result = compare_checksums(out, out / 'SHA256SUMS', progress=False)
    assert result and result.same == 14 and result.unlisted == ['conversion.json']


def test_a_finished_conversion_is_kept(release, tmp_path):
    split = {'labeled': release.parent / 'cuhk03_new_protocol_config_labeled.mat'}
    out = tmp_path / 'out'
    arguments = release / 'cuhk-03.mat', split, out
    convert_cuhk03(*arguments, progress=False)
    with pytest.raises(FileExistsError, match='--overwrite'):
        convert_cuhk03(*arguments, progress=False)
    (out / 'labeled' / 'query' / 'stray.png').write_bytes(b'')
    (out / 'notes.txt').write_text('mine')
    assert convert_cuhk03(*arguments, overwrite=True, progress=False)
    assert not (out / 'labeled' / 'query' / 'stray.png').exists()
    assert (out / 'notes.txt').read_text() == 'mine'
    # cut off: the record is missing, and what is there is replaced
    (out / 'conversion.json').unlink()
    (out / '.conversion.json.begun').touch()
    assert convert_cuhk03(*arguments, progress=False)
    (tmp_path / 'other').mkdir()
    (tmp_path / 'other' / 'file').touch()
    with pytest.raises(FileExistsError, match='no conversion wrote'):
        convert_cuhk03(*arguments[:2], tmp_path / 'other', progress=False)


def test_json_split(tmp_path, release):
    def rows(part):
        return [[f'/old/place/{FILES[i]}', PIDS[i], int(FILES[i][6]) - 1] for i in part]

    parts = {'train': rows(TRAIN), 'query': rows(QUERY), 'gallery': rows(GALLERY)}
    (tmp_path / 'splits_new_labeled.json').write_text(json.dumps([parts]))
    found = read_protocol(tmp_path / 'splits_new_labeled.json')
    expected = read_protocol(release.parent / 'cuhk03_new_protocol_config_labeled.mat')
    assert found == expected
    assert [image.name for image in found['train']] == [
        '0004_c1_1_001_01.png',
        '0004_c2_1_001_06.png',
    ]


def test_what_is_wrong_is_named(release, tmp_path, load_tool, capsys):
    mat = release / 'cuhk-03.mat'
    split = tmp_path / 'split.mat'
    files = list(FILES)
    files[3] = '1_003_2_07.png'  # an empty cell
    write_split(split, files)
    with pytest.raises(ValueError, match='image 7 of person 3 of camera pair 1'):
        convert_cuhk03(mat, {'labeled': split}, tmp_path / 'a', progress=False)
    files[3] = 'portrait.png'
    write_split(split, files)
    with pytest.raises(ValueError, match=r'split\.mat: this is not the new protocol'):
        convert_cuhk03(mat, {'labeled': split}, tmp_path / 'b', progress=False)
    savemat(split, {'x': 1})
    with pytest.raises(ValueError, match='filelist'):
        read_protocol(split)
    split.write_bytes(b'MATLAB 5.0 MAT-file' + bytes(20))
    with pytest.raises(ValueError, match='not the new protocol'):
        read_protocol(split)
    with pytest.raises(FileNotFoundError, match='the split is missing'):
        read_protocol(tmp_path / 'nothing.mat')
    good = {'labeled': release.parent / 'cuhk03_new_protocol_config_labeled.mat'}
    write_mat(tmp_path / 'half.mat', crops=('detected',))
    with pytest.raises(ValueError, match="no variable 'labeled'"):
        convert_cuhk03(tmp_path / 'half.mat', good, tmp_path / 'c', progress=False)
    mat.write_bytes(mat.read_bytes()[:1000])
    with pytest.raises(ValueError, match='cut off'):
        convert_cuhk03(mat, good, tmp_path / 'd', progress=False)
    mat.unlink()
    assert load_tool(TOOL).main([str(release), str(tmp_path / 'e')]) == 2
    assert 'cuhk-03.mat of the release' in capsys.readouterr().err
    assert load_tool(TOOL).main([str(tmp_path), str(tmp_path / 'e')]) == 2
    assert 'no split is here' in capsys.readouterr().err


def test_without_h5py(release, tmp_path, monkeypatch, load_tool, capsys):
    monkeypatch.setitem(sys.modules, 'h5py', None)
    assert load_tool(TOOL).main([str(release), str(tmp_path / 'out')]) == 2
    assert 'pip install h5py' in capsys.readouterr().err
    assert not (tmp_path / 'out').exists()


def test_published_folders_and_crops(tmp_path, log_lines):
    folder = tmp_path / 'CUHK03-NP' / 'detected' / 'bounding_box_train'
    write_images(folder, ['0001_c1_1.png', '0003_c2_21.png'])
    for root in (tmp_path, tmp_path / 'CUHK03-NP', folder.parent):
        samples = samples_of(CUHK03(str(root)))
        assert sorted((s['pid'], s['camid']) for s in samples) == [(1, 0), (3, 1)]
    assert any('7,365 images, 767 identities' in line for _, line in log_lines)
    with pytest.raises(FileNotFoundError, match='labeled'):
        CUHK03(str(tmp_path), crops='labeled')
    with pytest.raises(ValueError, match=r"crops must be one of .* got 'both'"):
        CUHK03(str(tmp_path), crops='both')
