# SPDX-License-Identifier: Apache-2.0
"""Any image that people have, as what the training pipeline would read."""

from __future__ import annotations

import io
import warnings
from pathlib import Path

import cv2
import mmcv
import numpy as np
from PIL import Image

#: More pixels than any crop of a person; keeps a small file that decodes into
#: gigabytes from taking the memory.
MAX_PIXELS = 50_000_000


class ImageError(ValueError):
    """One image cannot be used; the message names it and says why."""


def read_image(
    source: str | Path | bytes | np.ndarray | Image.Image,
    name: str | None = None,
    color_type: str = 'color',
    imdecode_backend: str = 'cv2',
    max_pixels: int = MAX_PIXELS,
) -> np.ndarray:
    """Read one image the way ``LoadImageFromFile`` does, but never half of it.

    Grey becomes three equal channels, transparency is dropped, of 16 bits the
    upper 8 are kept, EXIF rotation is applied: as the decoder of the training
    pipeline does it.

    Args:
        source (str | Path | bytes | np.ndarray | Image.Image): A file, its
            content, an array, or a Pillow image. An array is (H, W), (H, W, 1),
            (H, W, 3) in the order blue green red, or (H, W, 4) with
            transparency, uint8 or uint16.
        name (str, optional): How messages call it. Defaults to the path.
        color_type (str): As in ``LoadImageFromFile``. Defaults to 'color'.
        imdecode_backend (str): As there. Defaults to 'cv2'.
        max_pixels (int): Larger images are refused. Defaults to
            :data:`MAX_PIXELS`.

    Returns:
        np.ndarray: (H, W, 3) uint8, blue green red.

    Raises:
        ImageError: If it cannot be read completely, or is no image.
    """
    if isinstance(source, np.ndarray):
        return _from_array(source, name or 'the array', max_pixels)
    if isinstance(source, Image.Image):
        return _from_pillow(source, name or 'the image', max_pixels)
    if isinstance(source, (bytes, bytearray, memoryview)):
        data, name = bytes(source), name or 'the bytes'
    elif isinstance(source, (str, Path)):
        data, name = _read_file(Path(source)), name or str(source)
    else:
        raise ImageError(
            f'{name or "the input"}: expected a path, an array (H, W, 3) in the order '
            f'blue green red, or a Pillow image; got a {type(source).__name__}.'
        )
    return _decode(data, name, color_type, imdecode_backend, max_pixels)


def _read_file(path: Path) -> bytes:
    try:
        path = path.expanduser()
        if path.exists() and not (path.is_file() or path.is_dir()):
            raise ImageError(  # reading a pipe would wait for ever
                f'{path}: this is no file but a pipe or a device. Remove it.'
            )
        return path.read_bytes()
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise ImageError(
            f'{path}: this image cannot be opened ({reason}). Check the path.'
        ) from error


def _decode(
    data: bytes, name: str, color_type: str, backend: str, max_pixels: int
) -> np.ndarray:
    if not data:
        raise ImageError(f'{name}: this file has zero bytes. Copy it again.')
    _check_header(data, name, max_pixels)
    # Some versions of OpenCV fill the rest of a cut-off JPEG with grey.
    is_jpeg = data.startswith(b'\xff\xd8')
    if is_jpeg and data.rfind(b'\xff\xd9') < data.rfind(b'\xff\xda'):
        raise ImageError(
            f'{name}: this JPEG is cut off before its end. Copy it again or remove it.'
        )
    try:
        image = mmcv.imfrombytes(data, flag=color_type, backend=backend)
        reason = 'it is no image, is damaged, or has a format that cannot be read'
    except Exception as error:  # decoders raise all kinds for broken files
        image, reason = None, f'{type(error).__name__}: {error}'
    if image is None:
        raise ImageError(
            f'{name}: this image cannot be decoded ({reason}). Replace or remove it.'
        )
    return _three_channels(image)


def _check_header(data: bytes, name: str, max_pixels: int) -> None:
    """Refuse too many pixels before they are decoded."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore', Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(data)) as image:
                width, height = image.size
    except Image.DecompressionBombError as error:
        raise ImageError(f'{name}: this image is too large ({error}).') from error
    except Exception:  # the decoder has the last word on what is an image
        return
    _check_size(height, width, name, max_pixels)


def _check_size(height: int, width: int, name: str, max_pixels: int) -> None:
    if height * width > max_pixels:
        raise ImageError(
            f'{name}: {width} x {height} pixels are too many for a crop of a person '
            f'(at most {max_pixels:,}). Cut the person out, or raise max_pixels.'
        )
    if height < 1 or width < 1:
        raise ImageError(f'{name}: this image has no pixels ({width} x {height}).')


def _from_array(array: np.ndarray, name: str, max_pixels: int) -> np.ndarray:
    if array.ndim not in (2, 3) or (
        array.ndim == 3 and array.shape[2] not in (1, 3, 4)
    ):
        raise ImageError(
            f'{name}: expected an image of the shape (H, W), (H, W, 1), (H, W, 3) or '
            f'(H, W, 4), got {array.shape}. Channels come last.'
        )
    if array.dtype not in (np.uint8, np.uint16):
        raise ImageError(
            f'{name}: expected uint8 (0 to 255) or uint16, got {array.dtype}. Scale '
            'it to 0 to 255 and convert it with .astype(np.uint8).'
        )
    height, width = array.shape[:2]
    _check_size(height, width, name, max_pixels)
    return _three_channels(array)


def _from_pillow(image: Image.Image, name: str, max_pixels: int) -> np.ndarray:
    _check_size(image.height, image.width, name, max_pixels)
    try:
        if image.mode.startswith('I;16'):
            return _three_channels(np.asarray(image).astype(np.uint16))
        if image.mode in ('I', 'F'):
            raise ImageError(
                f'{name}: Pillow images of mode {image.mode!r} have no fixed range. '
                "Convert it to 'L' or 'RGB', or give the path of the file."
            )
        return np.ascontiguousarray(np.asarray(image.convert('RGB'))[..., ::-1])
    except OSError as error:  # Pillow reads the pixels only now
        raise ImageError(
            f'{name}: this image cannot be decoded ({error}). Replace or remove it.'
        ) from error


def _three_channels(image: np.ndarray) -> np.ndarray:
    """(H, W[, 1, 3 or 4]) uint8 or uint16 to (H, W, 3) uint8."""
    if image.dtype == np.uint16:
        image = (image >> 8).astype(np.uint8)
    if image.ndim == 2 or image.shape[2] == 1:
        return cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_GRAY2BGR)
    return np.ascontiguousarray(image[..., :3])
