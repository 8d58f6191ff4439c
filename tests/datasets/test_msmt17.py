# SPDX-License-Identifier: Apache-2.0
import pytest

from mmreid_gcl.datasets import MSMT17, UNKNOWN

from .layouts import samples_of, write_image, write_images

LISTS = {
    'list_train.txt': [
        '0001/0001_000_05_0114noon_1558_1.jpg 1',
        '0000/0000_000_01_0303morning_0008_0.jpg 0',
    ],
    'list_val.txt': ['0000/0000_046_12_0303afternoon_0006_2_ex.jpg 0'],
    'list_query.txt': ['0000/0000_003_15_0113morning_0002_0.jpg 0'],
    'list_gallery.txt': ['0002/0002_001_03_0302noon_0100_4.jpg 2'],
}
V1 = ('MSMT17_V1', 'train', 'test')
V2 = ('MSMT17_V2', 'mask_train_v2', 'mask_test_v2')


def write_msmt(folder, version=V1, lists=LISTS):
    name, train, test = version
    root = folder / name
    for list_name, lines in lists.items():
        root.mkdir(exist_ok=True)
        (root / list_name).write_text('\n'.join(lines) + '\n')
        side = train if list_name in ('list_train.txt', 'list_val.txt') else test
        write_images(root / side, [line.split()[0] for line in lines])
    return root


@pytest.mark.parametrize(
    'version', [V1, V2, ('MSMT17', 'mask_train_V2', 'mask_test_V2')]
)
@pytest.mark.parametrize('parent', [False, True])
def test_train_is_train_and_val(tmp_path, version, parent):
    root = write_msmt(tmp_path, version)
    dataset = MSMT17(tmp_path if parent else root)
    assert samples_of(dataset) == [
        {
            'img_path': str(
                root / version[1] / '0000' / '0000_000_01_0303morning_0008_0.jpg'
            ),
            'pid': 0,
            'camid': 0,
            'sequence': 3030,
            'frame': 8,
            'moment': 8,
            'track': -1,
            'is_query': False,
        },
        {
            'img_path': str(
                root / version[1] / '0001' / '0001_000_05_0114noon_1558_1.jpg'
            ),
            'pid': 1,
            'camid': 4,
            'sequence': 1141,
            'frame': 1558,
            'moment': 1558,
            'track': -1,
            'is_query': False,
        },
        {
            'img_path': str(
                root / version[1] / '0000' / '0000_046_12_0303afternoon_0006_2_ex.jpg'
            ),
            'pid': 0,
            'camid': 11,
            'sequence': 3032,
            'frame': 6,
            'moment': 6,
            'track': -1,
            'is_query': False,
        },
    ]


@pytest.mark.parametrize('version', [V1, V2])
def test_test(tmp_path, version):
    root = write_msmt(tmp_path, version)
    dataset = MSMT17(root, split='test')
    assert dataset.column('is_query').tolist() == [True, False]
    assert dataset.column('pid').tolist() == [0, 2]
    assert dataset.column('camid').tolist() == [14, 2]
    assert dataset.column('sequence').tolist() == [1130, 3021]
    assert all(f'/{version[2]}/' in path for path in dataset.column('img_path'))


def test_sequences_are_in_order_of_time(tmp_path):
    times = ['0113morning', '0113noon', '0113afternoon', '0114morning', '0302noon']
    shuffled = [times[i] for i in (4, 2, 0, 3, 1)]
    lines = [f'0000/0000_{i:03}_01_{t}_0001_0.jpg 0' for i, t in enumerate(shuffled)]
    root = write_msmt(tmp_path, lists={'list_query.txt': lines})
    sequences = MSMT17(root, split='query').column('sequence')
    assert [shuffled[i] for i in sequences.argsort()] == times


def test_the_list_decides_on_identity(tmp_path):
    lines = ['0000/0000_000_01_0303morning_0008_0.jpg 17']
    root = write_msmt(tmp_path, lists={'list_query.txt': lines})
    assert MSMT17(root, split='query').column('pid').tolist() == [17]


def test_flat_layout(tmp_path):
    write_images(
        tmp_path / 'bounding_box_train',
        ['0003_c14_0030.jpg', '0000_c1_0000.jpg', '0000_000_02_0303noon_0008_0.jpg'],
    )
    write_images(tmp_path / 'query', ['0000_c15_0001.jpg'])
    write_images(tmp_path / 'bounding_box_test', ['0000_c3_0002.jpg'])
    train = MSMT17(tmp_path)
    assert train.column('pid').tolist() == [0, 0, 3]
    assert train.column('camid').tolist() == [0, 1, 13]
    assert train.column('sequence').tolist() == [UNKNOWN, 3031, UNKNOWN]
    assert train.column('frame').tolist() == [UNKNOWN, 8, UNKNOWN]
    test = MSMT17(tmp_path, split='test')
    assert test.column('camid').tolist() == [14, 2]
    assert test.column('is_query').tolist() == [True, False]


def test_v1_comes_before_v2(tmp_path, log_lines):
    write_msmt(tmp_path, V2)
    root = write_msmt(tmp_path, V1)
    MSMT17(tmp_path)
    assert ('INFO', f'MSMT17: using {root}') in log_lines


def test_official_counts(tmp_path, log_lines):
    images = {part: counts.images for part, counts in MSMT17.OFFICIAL.items()}
    assert images == {'train': 32621, 'query': 11659, 'gallery': 82161}
    MSMT17(write_msmt(tmp_path))
    (warning,) = [line for level, line in log_lines if level == 'WARNING']
    assert 'found 3 images, 2 identities, 3 cameras' in warning
    assert '32,621 images, 1,041 identities, 15 cameras' in warning


@pytest.mark.parametrize('missing', sorted(LISTS))
def test_missing_list(tmp_path, missing):
    root = write_msmt(tmp_path)
    (root / missing).unlink()
    split = 'train' if missing in ('list_train.txt', 'list_val.txt') else 'test'
    with pytest.raises(FileNotFoundError) as caught:
        MSMT17(root, split=split)
    assert str(caught.value).startswith(f'{root / missing}: this list is missing')


@pytest.mark.parametrize(
    'line',
    [
        '0000/0000_000_01_0303morning_0008_0.jpg',
        '0000/0000_000_01_0303morning_0008_0.jpg x',
        '0000/0000_000_01_0303morning_0008_0.jpg -1',
        '0000/0000_000_01_0303morning_0008_0.txt 0',
        '17',
    ],
)
def test_broken_list_line(tmp_path, line):
    root = write_msmt(tmp_path)
    with (root / 'list_query.txt').open('a') as file:
        file.write(f'\n{line}\n')
    with pytest.raises(ValueError) as caught:
        MSMT17(root, split='query')
    message = str(caught.value)
    assert message.startswith(f'{root / "list_query.txt"}, line 3: ')
    assert repr(line) in message
    assert "expected an image and its identity, such as '0000/0000_000" in message


def test_empty_list(tmp_path):
    root = write_msmt(tmp_path)
    (root / 'list_val.txt').write_text('\n')
    with pytest.raises(ValueError, match=r'list_val\.txt: this list is empty'):
        MSMT17(root)


def test_listed_image_is_missing(tmp_path):
    root = write_msmt(tmp_path)
    path = root / 'train' / '0001' / '0001_000_05_0114noon_1558_1.jpg'
    path.unlink()
    with pytest.raises(FileNotFoundError) as caught:
        MSMT17(root)
    message = str(caught.value)
    assert message.startswith(f'{path}: no such image')
    assert f'{root / "list_train.txt"}, line 1' in message
    path.parent.rmdir()
    with pytest.raises(FileNotFoundError, match='no such image'):
        MSMT17(root)


def test_listed_twice(tmp_path):
    line = LISTS['list_train.txt'][1]
    root = write_msmt(tmp_path, lists=LISTS | {'list_val.txt': [line]})
    with pytest.raises(ValueError) as caught:
        MSMT17(root)
    message = str(caught.value)
    assert f'{root / "list_val.txt"}, line 1' in message
    assert f'{root / "list_train.txt"}, line 2' in message


@pytest.mark.parametrize(
    'name',
    [
        '0000_c14_0030.jpg',
        '0000_000_01_0303midday_0008_0.jpg',
        '0000_000_00_0303noon_1_0.jpg',
    ],
)
def test_a_name_that_cannot_be_parsed(tmp_path, name):
    root = write_msmt(tmp_path, lists={'list_query.txt': [f'0000/{name} 0']})
    with pytest.raises(ValueError) as caught:
        MSMT17(root, split='query')
    message = str(caught.value)
    assert message.startswith(str(root / 'test' / '0000' / name))
    assert '0000_000_01_0303morning_0008_0.jpg' in message


def test_images_are_missing(tmp_path):
    root = tmp_path / 'MSMT17_V1'
    root.mkdir()
    (root / 'list_train.txt').write_text('a/b.jpg 0')
    with pytest.raises(FileNotFoundError, match=r'MSMT17_V1: the images.*train \(V1\)'):
        MSMT17(tmp_path)


def test_other_folder(tmp_path):
    write_image(tmp_path / 'train' / 'a.jpg')  # alone, this is anybody's folder
    with pytest.raises(FileNotFoundError, match='MSMT17 is not here') as caught:
        MSMT17(tmp_path)
    assert 'mask_train_v2' in str(caught.value)
    assert str(tmp_path / 'MSMT17_V1') in str(caught.value)


def test_links_in_the_lists(tmp_path):
    root = write_msmt(tmp_path)
    path = root / 'test' / '0000' / '0000_003_15_0113morning_0002_0.jpg'
    real = tmp_path / 'x.jpg'
    path.rename(real)
    path.symlink_to(real)
    assert len(MSMT17(root, split='query')) == 1
    real.unlink()
    with pytest.raises(FileNotFoundError, match='no such image'):
        MSMT17(root, split='query')


def test_crlf_and_byte_order_mark(tmp_path):
    root = write_msmt(tmp_path)
    text = '\r\n'.join(LISTS['list_query.txt']) + '\r\n'
    (root / 'list_query.txt').write_bytes(b'\xef\xbb\xbf' + text.encode())
    assert MSMT17(root, split='query').column('pid').tolist() == [0]
