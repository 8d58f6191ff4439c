# SPDX-License-Identifier: Apache-2.0
import contextlib
import os

import pytest

from mmreid_gcl.datasets import Market1501
from mmreid_gcl.datasets.benchmark import Counts, count
from mmreid_gcl.registry import DATASETS

from .layouts import samples_of, write_image, write_images

OFFICIAL_FOLDER = 'Market-1501-v15.09.15'


@pytest.fixture
def root(tmp_path):
    root = tmp_path / OFFICIAL_FOLDER
    write_images(
        root / 'bounding_box_train',
        [
            '0007_c2s3_071052_01.jpg',
            '0002_c1s1_000451_03.jpg',
            '0002_c6s4_000001_00.jpg',
        ],
    )
    write_images(root / 'query', ['0001_c1s1_001051_00.jpg'])
    write_images(
        root / 'bounding_box_test',
        [
            '-1_c1s1_000401_03.jpg',
            '0000_c1s1_000151_01.jpg',
            '0001_c2s1_000301_00.jpg',
        ],
    )
    return root


def test_train(root):
    # by camera, sequence and frame, never by identity
    folder = root / 'bounding_box_train'
    assert samples_of(Market1501(root)) == [
        {
            'img_path': str(folder / '0002_c1s1_000451_03.jpg'),
            'pid': 2,
            'camid': 0,
            'sequence': 1,
            'frame': 451,
            'moment': 451,
            'track': -1,
            'is_query': False,
        },
        {
            'img_path': str(folder / '0007_c2s3_071052_01.jpg'),
            'pid': 7,
            'camid': 1,
            'sequence': 3,
            'frame': 71052,
            'moment': 71052,
            'track': -1,
            'is_query': False,
        },
        {
            'img_path': str(folder / '0002_c6s4_000001_00.jpg'),
            'pid': 2,
            'camid': 5,
            'sequence': 4,
            'frame': 1,
            'moment': 1,
            'track': -1,
            'is_query': False,
        },
    ]


def test_order_is_the_same_whatever_the_file_system_says(root, monkeypatch):
    names = Market1501(root, split='gallery').column('img_path').tolist()
    scandir = os.scandir

    @contextlib.contextmanager
    def backwards(path):
        with scandir(path) as entries:
            yield sorted(entries, key=lambda entry: entry.name, reverse=True)

    monkeypatch.setattr(os, 'scandir', backwards)
    assert Market1501(root, split='gallery').column('img_path').tolist() == names
    assert names == sorted(names)


def test_query(root):
    (sample,) = samples_of(Market1501(root, split='query'))
    assert sample['img_path'].endswith('/query/0001_c1s1_001051_00.jpg')
    assert (sample['pid'], sample['camid'], sample['is_query']) == (1, 0, True)


def test_gallery_keeps_distractors_and_drops_junk(root, log_lines):
    dataset = Market1501(root, split='gallery')
    assert dataset.column('pid').tolist() == [0, 1]
    assert not dataset.column('is_query').any()
    assert any('1 junk images' in line for _, line in log_lines)


def test_test_is_query_then_gallery(root):
    dataset = Market1501(root, split='test')
    assert dataset.column('is_query').tolist() == [True, False, False]
    assert dataset.column('pid').tolist() == [1, 0, 1]
    assert dataset.column('camid').tolist() == [0, 0, 1]


@pytest.mark.parametrize('where', ['itself', 'parent'])
def test_data_root_may_be_the_parent(root, where, log_lines):
    given = root if where == 'itself' else root.parent
    assert len(Market1501(str(given))) == 3
    assert ('INFO', f'Market-1501: using {root}') in log_lines


def test_builds_from_the_registry(root):
    config = {'type': 'mmreid_gcl.Market1501', 'data_root': str(root)}
    assert len(DATASETS.build(config)) == 3


def test_wrong_counts_are_a_warning(root, log_lines):
    Market1501(root)
    (warning,) = [line for level, line in log_lines if level == 'WARNING']
    assert 'Market-1501 train: found 3 images, 2 identities, 3 cameras' in warning
    assert str(root) in warning
    assert '12,936 images, 751 identities, 6 cameras' in warning


def test_right_counts_are_an_info(root, log_lines, monkeypatch):
    official = Market1501.OFFICIAL | {'train': Counts(3, 2, 3)}
    monkeypatch.setattr(Market1501, 'OFFICIAL', official)
    Market1501(root)
    expected = 'Market-1501 train: 3 images, 2 identities, 3 cameras (official counts)'
    assert ('INFO', expected) in log_lines
    assert all(level == 'INFO' for level, _ in log_lines)


def test_official_counts():
    # section 2 of the paper's protocol: pid -1 removed, pid 0 in the gallery
    images = {part: counts.images for part, counts in Market1501.OFFICIAL.items()}
    assert images == {'train': 12936, 'query': 3368, 'gallery': 15913}


def test_a_synthetic_set_is_not_compared(root, log_lines):
    (root / 'synthetic.json').write_text('{}')
    Market1501(root, split='test')
    assert all(level == 'INFO' for level, _ in log_lines)
    assert any('query: 1 images, 1 identities' in line for _, line in log_lines)


def test_count():
    samples = [{'pid': 3, 'camid': 0}, {'pid': 3, 'camid': 1}, {'pid': 0, 'camid': 1}]
    assert count(samples) == (3, 2, 2)


def test_missing_data_root(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'nowhere: no such folder.*Market'):
        Market1501(tmp_path / 'nowhere')


def test_data_root_is_a_file(tmp_path):
    (tmp_path / 'set.zip').write_bytes(b'')
    with pytest.raises(NotADirectoryError, match=r'set\.zip: this is a file'):
        Market1501(tmp_path / 'set.zip')


def test_other_folder(tmp_path):
    (tmp_path / 'photos').mkdir()
    with pytest.raises(FileNotFoundError) as caught:
        Market1501(tmp_path / 'photos')
    message = str(caught.value)
    assert message.startswith(f'{tmp_path / "photos"}: Market-1501 is not here')
    assert 'bounding_box_train, query, bounding_box_test' in message
    assert str(tmp_path / 'photos' / OFFICIAL_FOLDER) in message


def test_missing_part(root):
    for path in (root / 'query').iterdir():
        path.unlink()
    (root / 'query').rmdir()
    assert len(Market1501(root)) == 3  # train does not need it
    with pytest.raises(FileNotFoundError) as caught:
        Market1501(root, split='test')
    assert str(caught.value).startswith(f'{root / "query"}: no such folder')


def test_empty_part(root):
    (root / 'query' / '0001_c1s1_001051_00.jpg').unlink()
    with pytest.raises(FileNotFoundError, match=r'query: expected images.*found none'):
        Market1501(root, split='query')


@pytest.mark.parametrize(
    'name',
    [
        'person.jpg',
        'abcd_c1s1_000451_03.jpg',
        '0002_c1_000451_03.jpg',
        '0002_c0s1_000451_03.jpg',  # cameras count from 1
        '-2_c1s1_000451_03.jpg',
        '0002_c1s1_000451_03.jpg.png',
        '٠٠٠٢_c1s1_000451_03.jpg',  # digits, but not of ASCII
        'человек.jpg',
    ],
)
def test_a_name_that_cannot_be_parsed(root, name):
    write_image(root / 'bounding_box_train' / name)
    with pytest.raises(ValueError) as caught:
        Market1501(root)
    message = str(caught.value)
    assert message.startswith(str(root / 'bounding_box_train' / name))
    assert '0002_c1s1_000451_03.jpg' in message.removeprefix(str(root))


def test_many_names_that_cannot_be_parsed(root):
    write_images(root / 'query', [f'x{i}.jpg' for i in range(9)])
    with pytest.raises(ValueError) as caught:
        Market1501(root, split='query')
    message = str(caught.value)
    assert message.startswith(f'{root / "query" / "x0.jpg"}: cannot parse')
    assert message.endswith(
        ' 8 more like it: x1.jpg, x2.jpg, x3.jpg, x4.jpg, x5.jpg, …'
    )


def test_other_files_are_reported_once(root, log_lines):
    folder = root / 'bounding_box_train'
    (folder / 'Thumbs.db').write_bytes(b'x')
    (folder / '._0002_c1s1_000451_03.jpg').write_bytes(b'x')  # of macOS archives
    (folder / 'more.jpg').mkdir()
    assert len(Market1501(root)) == 3
    assert len(Market1501(root)) == 3
    (line,) = [line for _, line in log_lines if 'Thumbs.db' in line]
    assert str(folder) in line
    assert '._0002_c1s1_000451_03.jpg' in line and 'more.jpg' in line
    assert '(3)' in line


def test_endings_in_any_case(root):
    write_image(root / 'bounding_box_train' / '0009_c3s1_000001_00.JPG')
    write_image(root / 'bounding_box_train' / '0010_c3s1_000002_00.png')
    assert Market1501(root).column('pid').tolist() == [2, 7, 9, 10, 2]


def test_links(root, tmp_path):
    real = write_image(tmp_path / 'elsewhere' / 'x.jpg')
    link = root / 'bounding_box_train' / '0001_c1s1_000001_00.jpg'
    link.symlink_to(real)
    whole = tmp_path / 'linked'
    whole.symlink_to(root)
    assert Market1501(whole).column('pid').tolist() == [1, 2, 7, 2]
    real.unlink()
    with pytest.raises(FileNotFoundError, match=r'0001_c1s1.*link to nothing'):
        Market1501(whole)


def test_unicode_data_root(root, tmp_path):
    other = tmp_path / '人物 данные'
    root.rename(other)
    assert Market1501(other).column('img_path')[0].startswith(str(other))


def test_tracks_of_a_table(root, log_lines):
    train = 'bounding_box_train/'
    rows = [
        'path,track',
        f'{train}0002_c6s4_000001_00.jpg,7',
        f'{train}0007_c2s3_071052_01.jpg,7',
        f'{train}0002_c1s1_000451_03.jpg,',
    ]
    (root / 'tracks.csv').write_text('\n'.join(rows))
    # numbered by camera and in the order of time, not as in the table
    assert Market1501(root).column('track').tolist() == [-1, 0, 1]
    assert any('tracks of 2 of 3 train images' in line for _, line in log_lines)
    assert Market1501(root, split='test').column('track').tolist() == [-1, -1, -1]
    (root / 'tracks.csv').write_text('image,track\na,1\n')
    with pytest.raises(ValueError, match=r"tracks\.csv.*no column 'path'"):
        Market1501(root)


def test_cameras_begin_at_1(tmp_path):
    write_image(tmp_path / 'query' / '0001_c0s1_000001_00.jpg')
    with pytest.raises(ValueError, match=r'0001_c0s1.*camera is 0, but .* begin at 1'):
        Market1501(str(tmp_path), split='query')
