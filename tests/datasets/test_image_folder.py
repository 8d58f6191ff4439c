# SPDX-License-Identifier: Apache-2.0
import os
import random

import pytest

from mmreid_gcl.datasets.image_folder import (
    ExistingFiles,
    list_images,
    natural_key,
    walk_images,
)

from .layouts import write_image, write_images


def test_natural_key():
    names = ['cam1', 'cam2', 'cam02', 'cam10', 'cam10b', 'hall', '7', '70', '', '08']
    shuffled = random.Random(0).sample(names, len(names))
    assert sorted(shuffled, key=natural_key) == [
        '',
        '7',
        '08',
        '70',
        'cam02',
        'cam2',
        'cam1',
        'cam10',
        'cam10b',
        'hall',
    ][:4] + ['cam1', 'cam02', 'cam2', 'cam10', 'cam10b', 'hall']


def test_walk_is_sorted_folder_by_folder(tmp_path):
    names = ['b/1.jpg', 'a/z.png', 'a b/1.jpg', 'a/c/1.JPG', 'top.webp', '街/人.jpg']
    for name in names:
        write_image(tmp_path / name)
    assert walk_images(tmp_path) == [
        'a/c/1.JPG',
        'a/z.png',
        'a b/1.jpg',
        'b/1.jpg',
        'top.webp',
        '街/人.jpg',
    ]
    assert walk_images(tmp_path, skip=('a', 'b')) == [
        'a b/1.jpg',
        'top.webp',
        '街/人.jpg',
    ]


def test_hidden_folders_and_others(tmp_path, log_lines):
    write_image(tmp_path / 'a' / '1.jpg')
    write_image(tmp_path / '.thumbnails' / '1.jpg')
    (tmp_path / 'a' / 'notes.txt').write_text('x')
    assert walk_images(tmp_path) == ['a/1.jpg']
    assert [line for _, line in log_lines] == [
        f'{tmp_path}: left out what is no image (1): a/notes.txt',
        f'{tmp_path}: left out 1 images in hidden folders and folders of systems: '
        '.thumbnails',
    ]


@pytest.mark.parametrize(
    'name',
    [
        *('.AppleDouble', '.Trash-1000', '.@__thumb', '@eaDir', '@Recycle', '__MACOSX'),
        *('#recycle', '#snapshot', 'lost+found', '$RECYCLE.BIN'),
        'System Volume Information',
    ],
)
@pytest.mark.parametrize('above', ['', 'hall/', 'hall/a.jpg/'])
def test_folders_of_systems(tmp_path, log_lines, name, above):
    """Thumbnails and what was deleted, at any depth, are no crops."""
    write_image(tmp_path / 'hall' / '1.jpg')
    aside = tmp_path / f'{above}{name}'
    write_images(aside / '1.jpg', ['SYNOPHOTO_THUMB_XL.jpg', '.2.png'])
    (aside / 'gone.jpg').symlink_to('nowhere')
    write_image(aside / '3.jpg')
    assert walk_images(tmp_path) == ['hall/1.jpg']
    ((_, line),) = log_lines
    assert 'left out 4 images' in line and line.endswith(f': {above}{name}')


def test_names_that_only_look_so(tmp_path):
    names = ['#1/1.jpg', '_MACOSX/1.jpg', 'lost/1.jpg', 'recycle/1.jpg', 'ea@Dir/1.jpg']
    for name in names:
        write_image(tmp_path / name)
    assert walk_images(tmp_path) == sorted(names)


def test_loops_are_entered_once(tmp_path, log_lines):
    write_image(tmp_path / 'b' / '1.jpg')
    write_image(tmp_path / 'a' / '2.jpg')
    (tmp_path / 'b' / 'up').symlink_to(tmp_path)
    (tmp_path / 'a' / 'b').symlink_to(tmp_path / 'b')
    (tmp_path / 'b' / 'a').symlink_to(tmp_path / 'a')
    (tmp_path / 'self').symlink_to(tmp_path / 'self')  # links to nothing but itself
    assert walk_images(tmp_path) == ['a/2.jpg', 'b/1.jpg']
    warnings = [line for level, line in log_lines if level == 'WARNING']
    assert len(warnings) == 3
    assert all('not followed' in line for line in warnings)


def test_a_linked_folder_is_read(tmp_path):
    write_images(tmp_path / 'elsewhere' / 'cam', ['1.jpg'])
    (tmp_path / 'here').mkdir()
    (tmp_path / 'here' / 'one').symlink_to(tmp_path / 'elsewhere')
    (tmp_path / 'here' / 'two').symlink_to(tmp_path / 'elsewhere')
    assert walk_images(tmp_path / 'here') == ['one/cam/1.jpg']


def test_a_link_to_nothing(tmp_path):
    (tmp_path / '1.jpg').symlink_to(tmp_path / 'gone.jpg')
    for function in (walk_images, list_images):
        with pytest.raises(FileNotFoundError, match=r'1\.jpg: expected an image'):
            function(tmp_path)


def test_links_to_nothing_are_kept_for_who_reports_them(tmp_path):
    write_image(tmp_path / 'a' / '1.jpg')
    (tmp_path / 'a' / '2.jpg').symlink_to(tmp_path / 'gone.jpg')
    (tmp_path / '3.jpg').symlink_to('3.jpg')
    assert walk_images(tmp_path, keep_broken=True) == ['3.jpg', 'a/1.jpg', 'a/2.jpg']


@pytest.mark.skipif(not hasattr(os, 'mkfifo'), reason='needs pipes')
def test_pipes_are_no_images(tmp_path):
    write_image(tmp_path / '1.jpg')
    os.mkfifo(tmp_path / '2.jpg')
    assert walk_images(tmp_path) == list_images(tmp_path) == ['1.jpg']


def test_existing_files(tmp_path):
    write_image(tmp_path / 'a' / '1.jpg')
    write_image(tmp_path / '2.jpg')
    (tmp_path / 'a' / '3.jpg').mkdir()
    (tmp_path / 'a' / '4.jpg').symlink_to(tmp_path / 'gone')
    existing = ExistingFiles(tmp_path)
    paths = ['a/1.jpg', '2.jpg', 'a/3.jpg', 'a/4.jpg', 'a/5.jpg', 'b/1.jpg', '1.jpg']
    assert [path in existing for path in paths] == [True, True] + [False] * 5
