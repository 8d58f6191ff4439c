# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
from PIL import Image

from mmreid_gcl.datasets.inspection import inspect_image, name_remarks


def noise(*shape, dtype=np.uint8):
    return np.random.default_rng(0).integers(0, 256, shape).astype(dtype)


def save(folder, name, image, **options):
    path = folder / name
    Image.fromarray(image).save(path, **options)
    return path


def test_a_good_image(tmp_path):
    report = inspect_image(save(tmp_path, 'a.jpg', noise(64, 32, 3)))
    assert (report.height, report.width, report.mode) == (64, 32, 'RGB')
    assert report.errors == report.remarks == []
    assert len(report.checksum) == 32


def test_checksum_is_of_the_pixels(tmp_path):
    image = noise(64, 32, 3)
    png = inspect_image(save(tmp_path, 'a.png', image))
    assert inspect_image(save(tmp_path, 'a.bmp', image)).checksum == png.checksum
    image[5, 5, 1] ^= 1
    assert inspect_image(save(tmp_path, 'b.png', image)).checksum != png.checksum
    # the same bytes in another shape
    turned = noise(64, 32, 3).reshape(32, 64, 3)
    assert inspect_image(save(tmp_path, 'c.png', turned)).checksum != png.checksum


def test_broken_files(tmp_path):
    whole = save(tmp_path, 'a.jpg', noise(64, 32, 3)).read_bytes()
    contents = {
        'empty.jpg': (b'', 'zero bytes'),
        'text.jpg': (b'hello', 'no image, or a format that cannot be read'),
        'half.jpg': (whole[: len(whole) // 2], 'truncated ('),
        'nearly.jpg': (whole[:-40], 'truncated ('),
    }
    for name, (content, expected) in contents.items():
        (tmp_path / name).write_bytes(content)
        report = inspect_image(tmp_path / name)
        assert len(report.errors) == 1, name
        assert report.errors[0].startswith(expected)
        assert report.checksum == ''
    assert inspect_image(tmp_path / 'half.jpg').width == 32
    report = inspect_image(tmp_path / 'gone.jpg')
    assert report.errors == ['cannot be opened (No such file or directory)']


def test_half_a_png(tmp_path):
    path = save(tmp_path, 'a.png', noise(64, 32, 3))
    path.write_bytes(path.read_bytes()[:1000])
    (error,) = inspect_image(path).errors
    assert 'truncated' in error or 'cannot be decoded' in error


@pytest.mark.parametrize(
    ('name', 'image', 'expected'),
    [
        ('a.png', noise(64, 32), ['grey']),
        ('a.png', np.repeat(noise(64, 32, 1), 3, 2), ['grey']),
        ('a.png', noise(64, 32, dtype=np.uint16) * 256, ['grey', '16 bit or more']),
        ('a.png', noise(64, 32, 4), ['transparency']),
        ('a.png', noise(31, 32, 3)[:, :20], ['tiny']),
        ('a.png', noise(64, 15, 3), ['tiny']),
        ('a.png', noise(40, 41, 3), ['wider than tall']),
        ('a.png', np.full((64, 32, 3), (1, 2, 3), np.uint8), ['one colour']),
    ],
)
def test_unusual_images(tmp_path, name, image, expected):
    report = inspect_image(save(tmp_path, name, image))
    assert report.errors == []
    assert report.remarks == expected


def test_min_size(tmp_path):
    path = save(tmp_path, 'a.png', noise(64, 32, 3))
    assert inspect_image(path, min_size=(65, 1)).remarks == ['tiny']
    assert inspect_image(path, min_size=(64, 32)).remarks == []


def test_huge_images(tmp_path):
    path = tmp_path / 'a.png'
    Image.new('1', (2000, 5001)).save(path)
    assert 'huge' in inspect_image(path).remarks
    Image.new('1', (8000, 6251)).save(path)
    report = inspect_image(path)
    assert report.errors == ['too many pixels for a crop, not decoded']
    assert (report.width, report.height, report.checksum) == (8000, 6251, '')


def test_format_and_rotation(tmp_path):
    path = save(tmp_path, 'a.jpg', noise(64, 32, 3), format='PNG')
    assert inspect_image(path).remarks == ['PNG under the name .jpg']
    exif = Image.Exif()
    exif[274] = 6
    path = save(tmp_path, 'b.jpg', noise(64, 32, 3), exif=exif)
    assert inspect_image(path).remarks == ['rotated by its EXIF data']


@pytest.mark.parametrize(
    ('name', 'expected'),
    [
        ('0002_c1s1_000451_03.jpg', []),
        ('человек 1.jpg', []),
        ('人.png', []),
        ('v1.2.jpg', []),
        ('a (1).jpg', ['name of a copy']),
        ('a - Copy.jpg', ['name of a copy']),
        ('a.png.jpg', ['two endings (….png.jpg)']),
        ('a .jpg', ['blank at the edge of the name']),
        ('a\u200b.jpg', ['name with control characters or broken encoding']),
        ('a\udcff.jpg', ['name with control characters or broken encoding']),
        ('e\u0301.jpg', ['name with decomposed letters (not NFC)']),
        ('copyright.jpg', []),
    ],
)
def test_names(name, expected):
    assert name_remarks(name) == expected
