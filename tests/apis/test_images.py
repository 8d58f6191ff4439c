# SPDX-License-Identifier: Apache-2.0
import io
import os
import struct
import zlib

import cv2
import numpy as np
import pytest
from mmcv.transforms import LoadImageFromFile
from PIL import Image

from mmreid_gcl.apis.images import ImageError, read_image

RNG = np.random.default_rng(0)
COLOUR = RNG.integers(0, 256, (12, 7, 3), np.uint8)
GREY = RNG.integers(0, 256, (12, 7), np.uint8)
GREY16 = RNG.integers(0, 65536, (12, 7)).astype(np.uint16)
COLOUR16 = RNG.integers(0, 65536, (12, 7, 3)).astype(np.uint16)
ALPHA = RNG.integers(0, 256, (12, 7, 4), np.uint8)


def three(grey):
    return np.stack([grey] * 3, axis=-1)


ARRAYS = [
    (COLOUR, COLOUR),
    (GREY, three(GREY)),
    (GREY[..., None], three(GREY)),
    (ALPHA, ALPHA[..., :3]),
    (GREY16, three((GREY16 // 256).astype(np.uint8))),
    (COLOUR16, (COLOUR16 // 256).astype(np.uint8)),
    (COLOUR[:, ::-1], COLOUR[:, ::-1]),
    (COLOUR[:1, :1], COLOUR[:1, :1]),
]


@pytest.mark.parametrize('array,expected', ARRAYS)
def test_arrays(array, expected):
    image = read_image(array)
    assert image.dtype == np.uint8 and image.flags.c_contiguous
    assert np.array_equal(image, expected)


@pytest.mark.parametrize('array,expected', ARRAYS)
def test_files_as_the_training_pipeline_reads_them(array, expected, tmp_path):
    path = tmp_path / 'été 人.png'
    path.write_bytes(cv2.imencode('.png', array)[1].tobytes())
    for source in (path, str(path), path.read_bytes()):
        assert np.array_equal(read_image(source), expected)
    trained_on = LoadImageFromFile()(dict(img_path=str(path)))['img']
    assert np.array_equal(read_image(path), trained_on)


def test_exif_rotation_as_in_training(tmp_path):
    exif = Image.Exif()
    exif[274] = 6
    path = tmp_path / 'a.jpg'
    Image.fromarray(COLOUR).save(path, exif=exif)
    image = read_image(path)
    assert image.shape == (7, 12, 3)
    assert np.array_equal(image, LoadImageFromFile()(dict(img_path=str(path)))['img'])


@pytest.mark.parametrize('orientation', range(1, 9))
@pytest.mark.parametrize('kind', ['JPEG', 'PNG', 'WEBP', 'TIFF'])
def test_all_kinds_obey_the_orientation(kind, orientation, tmp_path):
    """Path, bytes, Pillow image and what training reads: one picture."""
    smooth = cv2.resize(COLOUR, (48, 64), interpolation=cv2.INTER_CUBIC)
    exif = Image.Exif()
    exif[274] = orientation
    path = tmp_path / 'a'
    options = dict(lossless=True) if kind == 'WEBP' else {}
    Image.fromarray(smooth).save(path, kind, exif=exif, **options)
    trained_on = LoadImageFromFile()(dict(img_path=str(path)))['img']
    # what the eight numbers of EXIF mean, on rows and columns
    turns = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.swapaxes(0, 1),
        6: lambda a: a[::-1].swapaxes(0, 1),
        7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
        8: lambda a: a[:, ::-1].swapaxes(0, 1),
    }
    upright = turns[orientation](smooth)[..., ::-1].astype(int)
    with Image.open(path) as pillow:
        for source in (path, path.read_bytes(), pillow):
            image = read_image(source)
            assert image.shape == upright.shape
            # JPEG loses a little
            assert np.abs(image - upright).mean() < (15 if kind == 'JPEG' else 1e-9)
            assert np.abs(image.astype(int) - trained_on).max() <= 2
        assert pillow.getexif().get(274, 1) in (orientation, 1)  # theirs is as it was
        as_stored = read_image(pillow, color_type='color_ignore_orientation')
    if kind != 'TIFF':  # Pillow itself turns those
        assert as_stored.shape == smooth.shape


@pytest.mark.parametrize(
    'pillow,expected',
    [
        (Image.fromarray(COLOUR), COLOUR[..., ::-1]),
        (Image.fromarray(GREY), three(GREY)),
        (Image.fromarray(GREY16), three((GREY16 // 256).astype(np.uint8))),
        (Image.fromarray(ALPHA), ALPHA[..., 2::-1]),
    ],
)
def test_pillow(pillow, expected):
    assert np.array_equal(read_image(pillow), expected)


def png_bomb(side):
    """A PNG that says it is huge, in less than a kilobyte."""

    def chunk(kind, data):
        body = kind + data
        return struct.pack('>I', len(data)) + body + struct.pack('>I', zlib.crc32(body))

    header = struct.pack('>IIBBBBB', side, side, 8, 2, 0, 0, 0)
    return (
        b'\x89PNG\r\n\x1a\n'
        + chunk(b'IHDR', header)
        + chunk(b'IDAT', zlib.compress(b'\0' * 100))
        + chunk(b'IEND', b'')
    )


def jpeg():
    return cv2.imencode('.jpg', RNG.integers(0, 256, (64, 32, 3), np.uint8))[
        1
    ].tobytes()


@pytest.mark.parametrize(
    'data,message',
    [
        (b'', 'zero bytes'),
        (b'hello', 'no image'),
        (jpeg()[:-200], 'cut off'),
        (cv2.imencode('.png', COLOUR)[1].tobytes()[:-40], 'cannot be decoded'),
        (png_bomb(8000), '8000 x 8000'),
        (png_bomb(60000), 'too large'),
    ],
)
def test_bad_files(data, message, tmp_path):
    path = tmp_path / 'bad.jpg'
    path.write_bytes(data)
    with pytest.raises(ImageError, match=message) as caught:
        read_image(path)
    assert str(caught.value).startswith(str(path))


def test_what_follows_the_end_of_a_jpeg_is_no_harm():
    data = jpeg()
    assert np.array_equal(read_image(data + b'\0\0trailer'), read_image(data))


def test_a_thumbnail_inside_does_not_hide_a_cut():
    thumbnail = io.BytesIO()
    Image.fromarray(COLOUR).save(thumbnail, 'JPEG')
    data = jpeg()
    comment = thumbnail.getvalue()
    marker = b'\xff\xfe' + struct.pack('>H', len(comment) + 2) + comment
    whole = data[:2] + marker + data[2:]
    assert np.array_equal(read_image(whole), read_image(data))
    with pytest.raises(ImageError, match='cut off'):
        read_image(whole[:-2])


@pytest.mark.parametrize(
    'array,message',
    [
        (COLOUR.astype(np.float32) / 255, 'float32'),
        (COLOUR > 3, 'bool'),
        (COLOUR.transpose(2, 0, 1), r'\(3, 12, 7\)'),
        (np.zeros((0, 7, 3), np.uint8), 'no pixels'),
        (np.zeros(5, np.uint8), 'shape'),
    ],
)
def test_bad_arrays(array, message):
    with pytest.raises(ImageError, match=message):
        read_image(array, 'inputs[3]')


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(ImageError, match='No such file'):
        read_image(tmp_path / 'none.jpg')
    with pytest.raises(ImageError, match='cannot be opened'):
        read_image(tmp_path)


def test_wrong_type():
    with pytest.raises(ImageError, match='got a int'):
        read_image(3)


@pytest.mark.parametrize('name', ['a.gif', 'a.ppm', 'a.jp2', 'a.ico'])
def test_other_formats_are_refused(name, tmp_path):
    """Whatever the decoder could do with them: the package reads five formats."""
    path = tmp_path / name
    Image.fromarray(COLOUR).save(path)
    path.rename(tmp_path / 'a.jpg')
    with pytest.raises(ImageError, match='another format than BMP, JPEG'):
        read_image(tmp_path / 'a.jpg')


def test_pipes_and_devices_are_not_opened(tmp_path):
    os.mkfifo(tmp_path / 'a.jpg')
    (tmp_path / 'b.jpg').symlink_to('/dev/zero')
    for name in ('a.jpg', 'b.jpg'):
        with pytest.raises(ImageError, match='a pipe or a device'):
            read_image(tmp_path / name)


def test_the_lines_of_an_error_of_the_decoder_are_kept(monkeypatch):
    def fail(*_, **__):
        raise cv2.error('OpenCV: error: (-5) \n> Overload resolution failed:\n> why\n')

    monkeypatch.setattr('mmcv.imfrombytes', fail)
    with pytest.raises(ImageError) as caught:
        read_image(jpeg(), 'x.jpg')
    assert 'error: (-5) > Overload resolution failed: > why)' in str(caught.value)


def test_max_pixels():
    assert read_image(COLOUR, max_pixels=84).shape == COLOUR.shape
    with pytest.raises(ImageError, match='7 x 12'):
        read_image(COLOUR, 'inputs[0]', max_pixels=83)
