# SPDX-License-Identifier: Apache-2.0
import sys

import pytest

from mmreid_gcl.datasets import UNKNOWN, UNLABELLED, PersonFolder
from mmreid_gcl.registry import DATASETS

from .layouts import samples_of, write_image, write_images


def rows(dataset, *names):
    """Chosen columns as tuples; 'name' is the path inside data_root."""
    columns = []
    for name in names:
        if name == 'name':
            paths = dataset.column('img_path')
            columns.append([path[len(dataset.data_root) + 1 :] for path in paths])
        else:
            columns.append(dataset.column(name).tolist())
    return list(zip(*columns))


def write_csv(root, text, name='images.csv'):
    (root / name).write_text(text, encoding='utf-8')
    return name


def test_only_a_folder(tmp_path):
    write_images(tmp_path / 'cam10', ['2.jpg'])
    write_images(tmp_path / 'cam2', ['10.jpg', '9.jpg'])
    dataset = PersonFolder(tmp_path)
    assert dataset.metainfo['cameras'] == ['cam2', 'cam10']
    assert samples_of(dataset) == [
        {
            'img_path': str(tmp_path / 'cam2' / '9.jpg'),
            'pid': UNLABELLED,
            'camid': 0,
            'sequence': 0,
            'frame': 0,
            'moment': -1,
            'track': -1,
            'is_query': False,
        },
        {
            'img_path': str(tmp_path / 'cam2' / '10.jpg'),
            'pid': UNLABELLED,
            'camid': 0,
            'sequence': 0,
            'frame': 1,
            'moment': -1,
            'track': -1,
            'is_query': False,
        },
        {
            'img_path': str(tmp_path / 'cam10' / '2.jpg'),
            'pid': UNLABELLED,
            'camid': 1,
            'sequence': 1,
            'frame': 0,
            'moment': -1,
            'track': -1,
            'is_query': False,
        },
    ]


def test_names_of_cameras_and_people(tmp_path):
    for name in (
        'query/cam2/anna/1.jpg',
        'gallery/cam10/7/1.jpg',
        'gallery/cam2/x.jpg',
    ):
        write_image(tmp_path / name)
    dataset = PersonFolder(tmp_path, split='test', lazy_init=True)
    assert [dataset.camera_name(i) for i in (0, 1)] == ['cam2', 'cam10']
    assert [dataset.identity_name(i) for i in (0, 1, -1)] == ['7', 'anna', '']
    write_image(tmp_path / 'm' / 'query' / '0003_c2s1_000001_00.jpg')
    config = dict(type='mmreid_gcl.Market1501', data_root=str(tmp_path / 'm'))
    market = DATASETS.build({**config, 'split': 'query'})
    assert market.camera_name(market.column('camid')[0]) == 'c2'  # as its files say
    assert market.camera_name(-1) == '?' and market.identity_name(3) == '3'


def test_builds_from_the_registry(tmp_path):
    write_image(tmp_path / 'a' / '1.jpg')
    config = {'type': 'mmreid_gcl.PersonFolder', 'data_root': str(tmp_path)}
    assert len(DATASETS.build(config)) == 1


def test_sub_folders_are_sequences(tmp_path):
    for name in (
        'a/track2/1.jpg',
        'a/track10/1.jpg',
        'a/track10/2.jpg',
        'b/track1/1.jpg',
    ):
        write_image(tmp_path / name)
    assert rows(PersonFolder(tmp_path), 'name', 'camid', 'sequence', 'frame') == [
        ('a/track2/1.jpg', 0, 0, 0),
        ('a/track10/1.jpg', 0, 1, 0),
        ('a/track10/2.jpg', 0, 1, 1),
        ('b/track1/1.jpg', 1, 2, 0),
    ]


def test_names_do_not_order_if_told_so(tmp_path, log_lines):
    write_images(tmp_path / 'a', ['1.jpg', '2.jpg'])
    PersonFolder(tmp_path)
    assert any('natural order of the names' in line for _, line in log_lines)
    assert PersonFolder(tmp_path).times_from_names
    log_lines.clear()
    dataset = PersonFolder(tmp_path, order_by_name=False)
    assert rows(dataset, 'sequence', 'frame') == [(UNKNOWN, UNKNOWN)] * 2
    assert not any('natural order' in line for _, line in log_lines)


@pytest.mark.parametrize(
    ('camera', 'expected'),
    [(0, ['x', 'y']), (1, ['1', '2']), (-1, ['1', '2']), (None, ['.'])],
)
def test_camera_level(tmp_path, camera, expected):
    for name in ('x/1/a.jpg', 'y/1/a.jpg', 'y/2/a.jpg'):
        write_image(tmp_path / name)
    dataset = PersonFolder(tmp_path, camera=camera)
    assert dataset.metainfo['cameras'] == expected


def test_a_flat_folder_is_one_camera(tmp_path):
    write_images(tmp_path, ['1.jpg', '2.jpg'])
    dataset = PersonFolder(tmp_path)
    assert dataset.metainfo['cameras'] == ['.']
    assert dataset.column('camid').tolist() == [0, 0]


def test_too_few_folders_for_the_camera(tmp_path):
    path = write_image(tmp_path / 'x' / 'a.jpg')
    with pytest.raises(ValueError) as caught:
        PersonFolder(tmp_path, camera=1)
    assert str(caught.value).startswith(f'{path}: camera=1')


@pytest.mark.parametrize('camera', ['first', True, 1.0])
def test_camera_is_no_number(tmp_path, camera):
    with pytest.raises(ValueError, match='camera must be the number of a sub-folder'):
        PersonFolder(tmp_path, camera=camera)


def test_names_in_any_script(tmp_path):
    folders = ['вход', '入口', 'café', 'مدخل']
    for folder, name in zip(folders, ['снимок 1.jpg', '图像.png', 'é.jpg', 'صورة.jpg']):
        write_image(tmp_path / folder / name)
    dataset = PersonFolder(
        tmp_path,
        pipeline=[{'type': 'LoadImageFromFile'}],
    )
    assert sorted(dataset.metainfo['cameras']) == sorted(
        ['вход', '入口', 'café', 'مدخل']
    )
    assert all(dataset[i]['img'].shape == (8, 4, 3) for i in range(4))


def test_loops_and_other_files(tmp_path, log_lines):
    write_image(tmp_path / 'a' / '1.jpg')
    (tmp_path / 'a' / 'again').symlink_to(tmp_path)
    (tmp_path / 'Thumbs.db').write_bytes(b'')
    assert len(PersonFolder(tmp_path)) == 1
    assert any('Thumbs.db' in line for _, line in log_lines)


def write_labelled(root, train='train/'):
    for name in (
        f'{train}cam1/1.jpg',
        f'{train}cam2/2.jpg',
        'query/cam2/7/1.jpg',
        'gallery/cam1/7/1.jpg',
        'gallery/cam3/0012/1.jpg',
        'gallery/cam3/unknown.jpg',
    ):
        write_image(root / name)


@pytest.mark.parametrize('train', ['train/', ''])
def test_labelled_folders(tmp_path, train, log_lines):
    write_labelled(tmp_path, train)
    assert rows(PersonFolder(tmp_path), 'name', 'pid', 'camid') == [
        (f'{train}cam1/1.jpg', UNLABELLED, 0),
        (f'{train}cam2/2.jpg', UNLABELLED, 1),
    ]
    test = PersonFolder(tmp_path, split='test')
    assert rows(test, 'name', 'pid', 'camid', 'is_query') == [
        ('query/cam2/7/1.jpg', 7, 1, True),
        ('gallery/cam1/7/1.jpg', 7, 0, False),
        ('gallery/cam3/0012/1.jpg', 12, 2, False),
        ('gallery/cam3/unknown.jpg', UNLABELLED, 2, False),
    ]
    assert test.metainfo['identities'] == []
    lines = [line for _, line in log_lines]
    assert (
        'PersonFolder gallery: 3 images, 2 cameras (cam1, cam3), 2 identities, '
        '1 images unlabelled' in lines
    )


def test_identities_by_name(tmp_path):
    for name in ('query/a/Zoë/1.jpg', 'gallery/b/12/1.jpg', 'gallery/b/Zoë/1.jpg'):
        write_image(tmp_path / name)
    test = PersonFolder(tmp_path, split='test')
    assert test.metainfo['identities'] == ['12', 'Zoë']
    assert test.column('pid').tolist() == [1, 0, 1]
    assert PersonFolder(tmp_path, split='query').column('pid').tolist() == [1]


def test_a_query_needs_an_identity(tmp_path):
    write_labelled(tmp_path)
    path = write_image(tmp_path / 'query' / 'cam1' / '9.jpg')
    with pytest.raises(ValueError) as caught:
        PersonFolder(tmp_path, split='test')
    message = str(caught.value)
    assert message.startswith(f'{path}: this query image has no identity')
    assert 'query/<camera>/<identity>/' in message


def test_only_the_split_that_is_asked_for_is_checked(tmp_path):
    write_labelled(tmp_path)
    write_image(tmp_path / 'query' / 'cam1' / '9.jpg')  # without identity
    (tmp_path / 'query' / 'gone.jpg').symlink_to('nowhere')
    expected = [('train/cam1/1.jpg', 0), ('train/cam2/2.jpg', 1)]
    assert rows(PersonFolder(tmp_path), 'name', 'camid') == expected
    gallery = PersonFolder(tmp_path, split='gallery')
    assert rows(gallery, 'pid', 'camid') == [(7, 0), (12, 2), (UNLABELLED, 2)]
    with pytest.raises(FileNotFoundError, match='link to nothing'):
        PersonFolder(tmp_path, split='query')
    # the same in a table
    lines = ['path,split,pid', 'train/cam1/1.jpg,train,', 'none.jpg,query,3']
    name = write_csv(tmp_path, '\n'.join([*lines, 'query/cam2/7/1.jpg,query,']))
    assert len(PersonFolder(tmp_path, annotation=name)) == 1
    with pytest.raises(FileNotFoundError, match=r'none\.jpg'):
        PersonFolder(tmp_path, split='query', annotation=name)


def test_other_splits_do_not_have_to_fit_the_pattern(tmp_path):
    for name in ('train/c1_1.jpg', 'gallery/other.jpg', 'query/c2_5.jpg'):
        write_image(tmp_path / name)
    pattern = r'c(?P<camera>\d)_(?P<pid>\d)'
    assert len(PersonFolder(tmp_path, pattern=pattern)) == 1
    assert len(PersonFolder(tmp_path, split='query', pattern=pattern)) == 1
    with pytest.raises(ValueError, match=r'other\.jpg.* does not match'):
        PersonFolder(tmp_path, split='gallery', pattern=pattern)


@pytest.mark.parametrize('change', [str.title, str.upper, str.lower])
def test_splits_in_upper_and_lower_case(tmp_path, change):
    train, query, gallery = map(change, ('train', 'query', 'gallery'))
    for name in (f'{train}/a/1.jpg', f'{query}/b/7/1.jpg', f'{gallery}/c/7/1.jpg'):
        write_image(tmp_path / name)
    dataset = PersonFolder(tmp_path)
    assert dataset.metainfo['cameras'] == ['a', 'b', 'c']
    assert rows(dataset, 'name') == [(f'{train}/a/1.jpg',)]
    test = PersonFolder(tmp_path, split='test')
    assert rows(test, 'pid', 'camid', 'is_query') == [(7, 1, True), (7, 2, False)]


def test_one_split_in_two_folders(tmp_path):
    for name in ('Query/a/1/1.jpg', 'query/a/1/1.jpg', 'gallery/a/1/1.jpg'):
        write_image(tmp_path / name)
    with pytest.raises(ValueError, match='Query and query are both the split query'):
        PersonFolder(tmp_path, split='gallery')


@pytest.mark.parametrize(
    ('folders', 'cameras'),
    [
        # PRCC, and its like
        (['train/a', 'train/b', 'val/a', 'test/A/7'], ['a', 'b']),
        (['Train/a', 'TEST/A/7'], ['a']),
        (['train/a', 'validation/a', 'extra/x'], ['a']),
        # alone, or beside what has no images
        (['train/cam1', 'train/cam2'], ['cam1', 'cam2']),
        (['train/cam1', 'train/cam2', '@eaDir/cam1'], ['cam1', 'cam2']),
        (['train/cam1', 'query/cam1/1', 'gallery/cam2/1'], ['cam1', 'cam2']),
        # nobody trains on what is held out
        (['hall', 'val', 'query/hall/1', 'gallery/hall/1'], ['hall']),
        # a camera at a station
        (['train', 'platform'], ['platform', 'train']),
    ],
)
def test_what_is_for_training(tmp_path, folders, cameras, log_lines):
    for folder in folders:
        write_image(tmp_path / folder / '1.jpg')
    (tmp_path / 'logs').mkdir()
    dataset = PersonFolder(tmp_path)
    assert dataset.metainfo['cameras'] == cameras
    first = folders[0].partition('/')[0]
    for (name,) in rows(dataset, 'name'):
        assert name.startswith(f'{first}/') or 'platform' in folders
    left = {f.partition('/')[0] for f in folders} - {first, 'query', 'gallery'}
    left = {name for name in left if name != 'platform' and name[0] != '@'}
    said = ' '.join(line for level, line in log_lines if level == 'WARNING')
    assert all(name in said.partition('not for training: ')[2] for name in left)


def test_images_beside_a_split_are_said(tmp_path, log_lines):
    for name in ('train/a/1.jpg', 'val/a/1.jpg', '2.jpg'):
        write_image(tmp_path / name)
    assert rows(PersonFolder(tmp_path), 'name') == [('train/a/1.jpg',)]
    assert any('not for training: val, the images' in line for _, line in log_lines)


@pytest.mark.parametrize(
    'folders', [['val/a', 'test/a'], ['training/a', 'Test/a'], ['x/train', 'x/test']]
)
def test_splits_that_are_taken_for_cameras_are_said(tmp_path, folders, log_lines):
    for folder in folders:
        write_image(tmp_path / folder / '1.jpg')
    assert len(PersonFolder(tmp_path)) == 2
    (line,) = [line for _, line in log_lines if 'look like splits' in line]
    assert 'est' in line and 'all images in them are for training' in line


def test_identities_are_not_merged(tmp_path):
    """Folders 0001 and 1 are two, whatever number they are."""
    for name in ('query/a/0001/1.jpg', 'gallery/b/1/1.jpg', 'gallery/b/0001/1.jpg'):
        write_image(tmp_path / name)
    test = PersonFolder(tmp_path, split='test')
    assert test.metainfo['identities'] == ['0001', '1']
    assert rows(test, 'name', 'pid') == [
        ('query/a/0001/1.jpg', 0),
        ('gallery/b/0001/1.jpg', 0),
        ('gallery/b/1/1.jpg', 1),
    ]


def test_no_images_to_evaluate_on(tmp_path):
    write_image(tmp_path / 'a' / '1.jpg')
    with pytest.raises(FileNotFoundError) as caught:
        PersonFolder(tmp_path, split='test')
    message = str(caught.value)
    assert message.startswith(f'{tmp_path}: expected query images, found none')
    assert 'val_dataloader=None' in message


def test_nothing_to_train_on(tmp_path):
    with pytest.raises(FileNotFoundError) as caught:
        PersonFolder(tmp_path)
    expected = f'{tmp_path}: expected images (.jpg, .png, …), found none.'
    assert str(caught.value) == expected


def test_missing_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match='nowhere: no such folder'):
        PersonFolder(tmp_path / 'nowhere')


def test_pattern(tmp_path):
    names = ['p3_camB_s2_f0010.jpg', 'p1_camA_s10_f0002.jpg', 'p3_camA_s9_f0011.jpg']
    write_images(tmp_path, names)
    pattern = (
        r'p(?P<pid>\d+)_cam(?P<camera>\w+?)_s(?P<sequence>\d+)_f(?P<frame>\d+)\.jpg$'
    )
    dataset = PersonFolder(tmp_path, pattern=pattern)
    assert rows(dataset, 'name', 'pid', 'camid', 'sequence', 'frame') == [
        ('p3_camA_s9_f0011.jpg', 3, 0, 9, 11),
        ('p1_camA_s10_f0002.jpg', 1, 0, 10, 2),
        ('p3_camB_s2_f0010.jpg', 3, 1, 2, 10),
    ]
    assert dataset.metainfo['cameras'] == ['A', 'B']


def test_pattern_with_time_and_folder_camera(tmp_path):
    write_images(tmp_path / 'hall', ['x_20240301-120501.jpg', 'y_20240301-120459.jpg'])
    dataset = PersonFolder(tmp_path, pattern=r'_(?P<time>\d{8}-\d{6})')
    # 2024-03-01T12:04:59Z
    assert rows(dataset, 'name', 'camid', 'frame') == [
        ('hall/y_20240301-120459.jpg', 0, 1709294699000),
        ('hall/x_20240301-120501.jpg', 0, 1709294701000),
    ]


def test_pattern_sees_folders_and_camid(tmp_path):
    for name in ('c2/person5/1.jpg', 'c1/person6/1.jpg'):
        write_image(tmp_path / name)
    pattern = r'^c(?P<camid>\d)/person(?P<pid>\d)/'
    assert rows(PersonFolder(tmp_path, pattern=pattern), 'pid', 'camid') == [
        (6, 0),
        (5, 1),
    ]


def test_pattern_gives_the_identity_of_queries(tmp_path):
    write_image(tmp_path / 'query' / '7_c1.jpg')
    write_image(tmp_path / 'gallery' / '7_c2.jpg')
    write_image(tmp_path / 'gallery' / '-1_c2.jpg')
    pattern = r'^(?P<pid>-?\d+)_c(?P<camera>\d)'
    test = PersonFolder(tmp_path, split='test', pattern=pattern)
    assert rows(test, 'name', 'pid', 'camid') == [
        ('query/7_c1.jpg', 7, 0),
        ('gallery/-1_c2.jpg', UNLABELLED, 1),
        ('gallery/7_c2.jpg', 7, 1),
    ]


def test_pattern_that_does_not_fit(tmp_path):
    write_image(tmp_path / 'c1_1.jpg')
    path = write_image(tmp_path / 'selfie.jpg')
    with pytest.raises(ValueError) as caught:
        PersonFolder(tmp_path, pattern=r'^c(?P<camera>\d)')
    message = str(caught.value)
    assert message.startswith(f"{path}: the pattern '^c(?P<camera>\\\\d)' does not")
    assert "'selfie.jpg'" in message


@pytest.mark.parametrize(
    ('pattern', 'message'),
    [
        ('(?P<camera>', 'no regular expression'),
        (r'c(\d)', 'expected some of'),
        (r'(?P<camera>\d)(?P<colour>\d)', 'expected some of'),
        (r'(?P<camera>\d)(?P<camid>\d)', 'each once'),
    ],
)
def test_broken_pattern(tmp_path, pattern, message):
    with pytest.raises(ValueError, match=message) as caught:
        PersonFolder(tmp_path, pattern=pattern)
    assert repr(pattern) in str(caught.value)


def test_frame_is_no_number(tmp_path):
    path = write_image(tmp_path / 'a' / 'f_x1.jpg')
    with pytest.raises(ValueError) as caught:
        PersonFolder(tmp_path, pattern=r'f_(?P<frame>\w+)')
    assert str(caught.value).startswith(f"{path}: frame is 'x1'; expected an integer")


def test_annotation(tmp_path, log_lines):
    for name in ('a.jpg', 'b.jpg', 'deep/c.jpg', 'unlisted.jpg', 'q.jpg', 'g.jpg'):
        write_image(tmp_path / name)
    table = write_csv(
        tmp_path,
        'path,camera,time,pid,split,weather\n'
        'b.jpg,door,2024-03-01T10:00:01,,train,sun\n'
        '"a.jpg",door,2024-03-01T10:00:00,,,rain\n'
        './deep/c.jpg,yard,2024-03-01T09:00:00,anna,train,\n'
        'q.jpg,yard,,ben,query,\n'
        'g.jpg,door,,ben,gallery,\n',
    )
    train = PersonFolder(tmp_path, annotation=table)
    assert rows(train, 'name', 'pid', 'camid', 'sequence', 'frame') == [
        ('a.jpg', UNLABELLED, 0, UNKNOWN, 1709287200000),
        ('b.jpg', UNLABELLED, 0, UNKNOWN, 1709287201000),
        ('deep/c.jpg', 0, 1, UNKNOWN, 1709283600000),
    ]
    assert train.metainfo['cameras'] == ['door', 'yard']
    assert train.metainfo['identities'] == ['anna', 'ben']
    assert any('columns not used: weather' in line for _, line in log_lines)
    test = PersonFolder(tmp_path, split='test', annotation=table)
    assert rows(test, 'name', 'pid', 'camid', 'is_query') == [
        ('q.jpg', 1, 1, True),
        ('g.jpg', 1, 0, False),
    ]


@pytest.mark.parametrize('separator', [';', '\t'])
def test_other_separators_and_camid(tmp_path, separator):
    write_image(tmp_path / 'a, b.jpg')
    lines = ['path;camid;frame', 'a, b.jpg;4;17']
    text = '\ufeff' + '\r\n'.join(lines).replace(';', separator) + '\r\n'
    table = write_csv(tmp_path, text, 'images.tsv')
    dataset = PersonFolder(tmp_path, annotation=table)
    assert rows(dataset, 'camid', 'frame') == [(0, 17)]
    assert dataset.metainfo['cameras'] == ['4']


def test_annotation_with_folders_and_pattern(tmp_path):
    for name in ('hall/1_f5.jpg', 'yard/2_f6.jpg'):
        write_image(tmp_path / name)
    table = write_csv(tmp_path, 'path,pid\nhall/1_f5.jpg,3\nyard/2_f6.jpg,\n')
    pattern = r'(?P<pid>\d+)_f(?P<frame>\d+)'
    dataset = PersonFolder(tmp_path, annotation=table, pattern=pattern)
    assert rows(dataset, 'pid', 'camid', 'frame') == [(3, 0, 5), (2, 1, 6)]


def test_annotation_with_absolute_paths(tmp_path):
    inside = write_image(tmp_path / 'crops' / 'hall' / '1.jpg')
    outside = write_image(tmp_path / 'more' / '2.jpg')
    root = tmp_path / 'crops'
    table = write_csv(root, f'path\n{inside}\n')
    dataset = PersonFolder(root, annotation=table)
    assert dataset.metainfo['cameras'] == ['hall']
    for path in (outside, '../more/2.jpg'):
        table = write_csv(root, f'path\n{path}\n')
        with pytest.raises(ValueError, match=r'line 2: .* is not in data_root'):
            PersonFolder(root, annotation=table)
        dataset = PersonFolder(root, annotation=table, camera=-1)
        assert dataset.metainfo['cameras'] == ['more']


@pytest.mark.parametrize(
    ('text', 'error', 'message'),
    [
        ('', ValueError, "images.csv: there is no column 'path'; found []"),
        (
            'file,camera\na.jpg,1\n',
            ValueError,
            "found ['file', 'camera'], exp",
        ),
        ('path,path\na.jpg,1\n', ValueError, "the column 'path' stands there twice"),
        ('path,camera,camid\n', ValueError, "the column 'camera' stands there twice"),
        ('path,camera\n', ValueError, 'images.csv: this file has no rows'),
        ('path,camera\na.jpg\n', ValueError, 'images.csv, line 2: expected 2 values'),
        ('path,camera\na.jpg,1\n,2\n', ValueError, "line 3: the value of 'path' is em"),
        ('path,camera\n"a.jpg,1\n', ValueError, 'broken CSV'),
        ('path\na.txt\n', ValueError, "line 2: 'a.txt' has no image ending"),
        ('path\na.jpg\n./a.jpg\n', ValueError, "line 3: 'a.jpg' stands already in"),
        ('path,split\na.jpg,val\n', ValueError, "line 2: split is 'val'; expected one"),
        ('path\na.jpg\nb.jpg\n', FileNotFoundError, 'b.jpg: no such image, but'),
        ('path,time\na.jpg,noon\n', ValueError, "line 2: cannot read the time 'noon'"),
        ('path,frame\na.jpg,1.5\n', ValueError, "line 2: frame is '1.5'; expected an"),
        ('path,split\na.jpg,query\n', ValueError, 'line 2: this query image has no'),
    ],
)
def test_broken_annotation(tmp_path, text, error, message):
    write_image(tmp_path / 'a.jpg')
    table = write_csv(tmp_path, text)
    with pytest.raises(error) as caught:
        PersonFolder(tmp_path, annotation=table)
    assert message in str(caught.value)
    assert str(tmp_path / table) in str(caught.value)


def test_annotation_in_another_encoding(tmp_path):
    (tmp_path / 'images.csv').write_bytes('path\ncafé.jpg\n'.encode('latin-1'))
    with pytest.raises(ValueError, match=r'images\.csv: cannot read.* as UTF-8'):
        PersonFolder(tmp_path, annotation='images.csv')


def test_missing_annotation(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'x\.csv: no such annotation file'):
        PersonFolder(tmp_path, annotation='x.csv')
    write_csv(tmp_path, '', 'images.xlsx')
    with pytest.raises(ValueError, match=r'images\.xlsx: expected a file ending in'):
        PersonFolder(tmp_path, annotation='images.xlsx')


def test_parquet(tmp_path):
    pandas = pytest.importorskip('pandas')
    pytest.importorskip('pyarrow')
    write_images(tmp_path, ['a.jpg', 'b.jpg'])
    pandas.DataFrame(
        {
            'path': ['b.jpg', 'a.jpg'],
            'camid': [3, 5],
            'time': pandas.to_datetime(['2024-03-01T10:00:00', '2024-03-01T10:00:01']),
            'pid': [None, 12],  # a gap makes these floats
        }
    ).to_parquet(tmp_path / 'images.parquet')
    dataset = PersonFolder(tmp_path, annotation='images.parquet')
    assert rows(dataset, 'name', 'pid', 'camid', 'frame') == [
        ('b.jpg', UNLABELLED, 0, 1709287200000),
        ('a.jpg', 12, 1, 1709287201000),
    ]


def test_parquet_without_pandas(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'pandas', None)
    (tmp_path / 'images.parquet').write_bytes(b'PAR1')
    with pytest.raises(ImportError) as caught:
        PersonFolder(tmp_path, annotation='images.parquet')
    assert str(tmp_path / 'images.parquet') in str(caught.value)
    assert 'pip install pandas' in str(caught.value)


def warnings_of(lines):
    return [line for level, line in lines if level == 'WARNING']


def test_times_by_name_are_known_to_be(tmp_path, log_lines):
    """A training whose graphs use them warns; the data set alone does not."""
    write_images(tmp_path / 'train' / 'a', ['1.jpg'])
    write_images(tmp_path / 'query' / 'a' / 'x', ['1.jpg'])
    assert PersonFolder(tmp_path).times_from_names
    assert any('nothing gives the time' in line for _, line in log_lines)
    for options in (
        dict(order_by_name=True),
        dict(order_by_name=False),
        dict(pattern=r'(?P<frame>\d+)\.jpg'),
    ):
        assert not PersonFolder(tmp_path, **options).times_from_names
    assert not warnings_of(log_lines)


@pytest.mark.parametrize(
    'folders, images, warned', [(20, 3, True), (19, 3, False), (20, 50, False)]
)
def test_people_taken_for_cameras(tmp_path, log_lines, folders, images, warned):
    names = [f'{i}/{j}.jpg' for i in range(folders) for j in range(images)]
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()  # is listed, not read
    PersonFolder(tmp_path, order_by_name=True)
    found = [line for line in warnings_of(log_lines) if 'camera=None' in line]
    assert len(found) == warned
    if warned:
        assert '20 sub-folders are taken for cameras, with 3 images each' in found[0]
    del log_lines[:]
    PersonFolder(tmp_path, order_by_name=True, camera=None)
    PersonFolder(tmp_path, order_by_name=True, pattern=r'^(?P<camera>\d+)/')
    assert not warnings_of(log_lines)


def test_names_of_a_benchmark(tmp_path, log_lines):
    write_images(tmp_path, ['0002_c1s1_000451_03.jpg', '-1_c2s1_000001_00.jpg'])
    write_images(tmp_path, ['holiday.jpg'])
    PersonFolder(tmp_path, order_by_name=True)
    (line,) = warnings_of(log_lines)
    assert '2 of 3 names look like' in line and 'Market1501' in line
    del log_lines[:]
    (tmp_path / '-1_c2s1_000001_00.jpg').unlink()
    PersonFolder(tmp_path, order_by_name=True)
    assert not warnings_of(log_lines)


def test_the_advice_of_the_warning_works(tmp_path):
    names = ['0002_c1s1_000451_03.jpg', '0007_c10s1_000001_00.jpg']
    write_images(tmp_path, names)
    dataset = PersonFolder(
        tmp_path, pattern=r'_c(?P<camera>\d+)', order_by_name=False, camera=None
    )
    assert dataset.metainfo['cameras'] == ['1', '10']
    assert set(rows(dataset, 'sequence', 'frame')) == {(UNKNOWN, UNKNOWN)}


def test_tracks_by_pattern_and_by_table(tmp_path):
    for name in ('a/m_9_1', 'a/m_9_2', 'a/n_9_3', 'a/n_-1_4', 'b/m_9_5', 'b/m_3_4'):
        write_image(tmp_path / f'{name}.jpg')
    pattern = r'(?P<sequence>[mn])_(?P<track>-?\d+)_(?P<frame>\d)'
    dataset = PersonFolder(tmp_path, pattern=pattern)
    # a number stands for another track in another sequence or camera
    assert rows(dataset, 'name', 'track') == [
        ('a/m_9_1.jpg', 0),
        ('a/m_9_2.jpg', 0),
        ('a/n_9_3.jpg', 1),
        ('a/n_-1_4.jpg', -1),
        ('b/m_3_4.jpg', 2),
        ('b/m_9_5.jpg', 3),
    ]
    table = write_csv(
        tmp_path, 'path,track,frame\na/m_9_1.jpg,x,1\nb/m_9_5.jpg,x,2\na/m_9_2.jpg,,3'
    )
    dataset = PersonFolder(tmp_path, annotation=table)
    assert rows(dataset, 'name', 'track') == [
        ('a/m_9_1.jpg', 0),
        ('a/m_9_2.jpg', -1),
        ('b/m_9_5.jpg', 1),
    ]
    assert PersonFolder(tmp_path).column('track').tolist() == [-1] * 6


@pytest.mark.parametrize(
    ('days', 'hint'),
    [
        (['2024-05-01', '2024-05-02'], True),
        (['20240501'], True),
        (['01.05.2024'], True),
        (['cam1', '2024-05-01'], False),
        (['entrance', 'hall'], False),
    ],
)
def test_days_are_no_cameras(tmp_path, log_lines, days, hint):
    for day in days:
        for camera in ('cam1', 'cam2'):
            write_image(tmp_path / day / camera / '1.jpg')
    PersonFolder(str(tmp_path))
    said = [m for m in warnings_of(log_lines) if 'look like dates' in m]
    assert len(said) == hint and all('camera=1' in m for m in said)
    dataset = PersonFolder(str(tmp_path), camera=1)
    assert dataset.metainfo['cameras'] == ['cam1', 'cam2']
    said = [m for m in warnings_of(log_lines) if 'look like dates' in m]
    assert len(said) == hint
