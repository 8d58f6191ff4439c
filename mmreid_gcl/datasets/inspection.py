# SPDX-License-Identifier: Apache-2.0
"""Checks of an image file: format, size, pixels, file name."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import re
import stat
import unicodedata
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

#: What Pillow calls the format that a file ending promises.
FORMATS = {
    '.jpg': 'JPEG', '.jpeg': 'JPEG', '.png': 'PNG', '.bmp': 'BMP', '.webp': 'WEBP',
    '.tif': 'TIFF', '.tiff': 'TIFF',
}  # fmt: skip
#: The formats that are decoded, whatever a file is called.
DECODED = tuple(sorted(set(FORMATS.values())))
#: A crop with more pixels is no crop of a person (and slow to decode).
HUGE = 10_000_000
#: More pixels are not decoded: a small file may hold gigabytes of them.
MAX_PIXELS = 50_000_000
_ORIENTATION = 274  # EXIF


@dataclass
class ImageReport:
    """What was found in one image file; 0 and '' where nothing could be."""

    width: int = 0  #: In pixels
    height: int = 0  #: In pixels
    mode: str = ''  #: Pillow's name of the pixel format
    #: Of the decoded pixels; the same for a copy in another lossless format
    checksum: str = ''
    #: What stops a training run
    errors: list[str] = field(default_factory=list)
    #: What may be meant so
    remarks: list[str] = field(default_factory=list)


def inspect_image(
    path: str | Path, min_size: tuple[int, int] = (32, 16)
) -> ImageReport:
    """Decode an image completely and say what is wrong or unusual.

    Stricter than the decoder used in training, some versions of which fill
    the missing part of a truncated JPEG with grey without a word. A bad file is no
    error but a report as well. Below ``min_size``, (height, width) in pixels, a crop is
    called tiny.
    """
    report = ImageReport(remarks=name_remarks(Path(path).name))
    try:
        data = read_bytes(path)
    except OSError as error:
        report.errors.append(f'cannot be opened ({error.strerror})')
        return report
    if not data:
        report.errors.append('zero bytes')
        return report
    image = _decode(data, report)
    if image is None:
        return report
    if cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) is None:
        report.errors.append('OpenCV, which training uses, cannot decode it')
    pixels = np.asarray(image)
    digest = hashlib.blake2b(repr((pixels.shape, image.mode)).encode(), digest_size=16)
    digest.update(np.ascontiguousarray(pixels))
    report.checksum = digest.hexdigest()
    report.remarks += _content_remarks(Path(path), image, pixels, min_size)
    return report


def require_file(path: str | Path) -> None:
    """Raise an OSError unless a path can be opened without waiting, as on a pipe."""
    mode = os.stat(path).st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):  # a folder raises by itself
        reason = 'this is no file but a pipe or a device'
        raise OSError(errno.EINVAL, reason, str(path))


def read_bytes(path: str | Path) -> bytes:
    """The content of a file, see :func:`require_file`."""
    require_file(path)
    return Path(path).read_bytes()


def check_header(source: str | Path | bytes, max_pixels: int = MAX_PIXELS) -> None:
    """Look at format and size of an image before its pixels are decoded.

    ``source`` is a file or its content. An empty one is left to the decoder, which may
    have been told what to do. A file that cannot be opened is an OSError; none of the
    :data:`DECODED` formats, or too many pixels, a ValueError.
    """
    if isinstance(source, bytes):
        size = _size(io.BytesIO(source))
    else:
        require_file(source)
        with open(source, 'rb') as file:
            size = _size(file)
    if size:
        check_size(*size, max_pixels)


def _size(file: BinaryIO) -> tuple[int, int] | None:
    """Height and width, None of an empty file."""
    if not file.read(1):
        return None
    file.seek(0)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # of huge images, which are refused
        try:
            width, height = Image.open(file, formats=DECODED).size
        except Image.DecompressionBombError as error:
            raise ValueError(
                f'this image is too large ({error}). Cut the person out.'
            ) from error
        except Exception as error:  # Pillow raises all kinds for broken headers
            raise ValueError(
                'this image cannot be decoded: it is no image, its header is damaged, '
                f'or it has another format than {", ".join(DECODED)}. Replace or '
                'remove it.'
            ) from error
    return height, width


def check_size(height: int, width: int, max_pixels: int = MAX_PIXELS) -> None:
    """Raise a ValueError if an image is too large for a crop, or empty."""
    if height * width > max_pixels:
        raise ValueError(
            f'{width} x {height} pixels are too many for a crop of a person '
            f'(max_pixels is {max_pixels:,}). Cut the person out.'
        )
    if height < 1 or width < 1:
        raise ValueError(f'this image has no pixels ({width} x {height}).')


def name_remarks(name: str) -> list[str]:
    """What is suspicious about a file name."""
    remarks = []
    stem, ending = name.rsplit('.', 1) if '.' in name else (name, '')
    if re.search(r'\([0-9]+\)$|[ _-](copy|Copy|Kopie|копия)\b|~', stem):
        remarks.append('name of a copy')
    if f'.{stem.lower()}'.endswith(tuple(FORMATS)) and '.' in stem:
        remarks.append(f'two endings (….{stem.rsplit(".", 1)[-1]}.{ending})')
    if name != name.strip() or stem != stem.strip():
        remarks.append('blank at the edge of the name')
    if any(unicodedata.category(letter) in ('Cc', 'Cf', 'Cs') for letter in name):
        remarks.append('name with control characters or broken encoding')
    elif unicodedata.normalize('NFC', name) != name:
        remarks.append('name with decomposed letters (not NFC)')
    return remarks


def _decode(data: bytes, report: ImageReport) -> Image.Image | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')  # of huge images; reported below
            image = Image.open(io.BytesIO(data), formats=DECODED)
            report.width, report.height = image.size
            report.mode = image.mode
            if report.width * report.height > MAX_PIXELS:
                raise Image.DecompressionBombError
            image.load()
    except UnidentifiedImageError:
        report.errors.append('no image, or a format that cannot be read')
    except Image.DecompressionBombError:
        report.errors.append('too many pixels for a crop, not decoded')
    except Exception as error:  # Pillow raises all kinds for broken files
        truncated = 'truncated' in str(error).lower()
        kind = 'truncated' if truncated else 'cannot be decoded'
        report.errors.append(f'{kind} ({error})')
    else:
        return image
    return None


def _content_remarks(
    path: Path, image: Image.Image, pixels: np.ndarray, min_size: tuple[int, int]
) -> list[str]:
    width, height = image.size
    found = {
        'tiny': height < min_size[0] or width < min_size[1],
        'huge': width * height > HUGE,
        'wider than tall': width > height,
        'one colour': pixels.size > 0 and bool((pixels == pixels[:1, :1]).all()),
        'grey': _is_grey(image, pixels),
        'transparency': image.mode in ('RGBA', 'LA', 'PA')
        or 'transparency' in image.info,
        '16 bit or more': image.mode[0] in 'IF',
        'CMYK': image.mode == 'CMYK',
        'more than one frame': getattr(image, 'n_frames', 1) > 1,
        'rotated by its EXIF data': image.getexif().get(_ORIENTATION, 1) != 1,
    }
    remarks = [remark for remark, applies in found.items() if applies]
    if image.format != FORMATS.get(path.suffix.lower(), image.format):
        remarks.append(f'{image.format} under the name {path.suffix}')
    return remarks


def _is_grey(image: Image.Image, pixels: np.ndarray) -> bool:
    if image.mode in ('1', 'L', 'LA') or image.mode[0] in 'IF':
        return True
    if image.mode not in ('RGB', 'RGBA'):
        return False
    red, green, blue = (pixels[..., channel] for channel in range(3))
    return bool((red == green).all() and (green == blue).all())
