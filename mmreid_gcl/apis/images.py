# SPDX-License-Identifier: Apache-2.0
"""Image reading: files, bytes, arrays and Pillow images to (H, W, 3) arrays."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import mmcv
import numpy as np
from PIL import Image

from mmreid_gcl.datasets.image_folder import as_path, one_line
from mmreid_gcl.datasets.inspection import (
    MAX_PIXELS,
    check_header,
    check_size,
    read_bytes,
)

#: What turns an image upright whose EXIF orientation is this.
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_ORIENTATION = 274
#: Values of ``color_type`` with which no decoder obeys the orientation.
_AS_STORED = ('unchanged', 'color_ignore_orientation', 'grayscale_ignore_orientation')


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
        max_pixels (int): Larger images are refused. Defaults to 50 million.

    Returns:
        np.ndarray: (H, W, 3) uint8, blue green red.

    Raises:
        ImageError: If it cannot be read completely, or is no image.
    """
    if isinstance(source, np.ndarray):
        return _from_array(source, name or 'the array', max_pixels)
    if isinstance(source, Image.Image):
        return _from_pillow(source, name or 'the image', color_type, max_pixels)
    if isinstance(source, (bytes, bytearray, memoryview)):
        data, name = bytes(source), name or 'the bytes'
    elif isinstance(source, (str, Path)):
        data, name = _read_file(source), name or str(source)
    else:
        raise ImageError(
            f'{name or "the input"}: expected a path, an array (H, W, 3) in the order '
            f'blue green red, or a Pillow image; got a {type(source).__name__}.'
        )
    return _decode(data, name, color_type, imdecode_backend, max_pixels)


def own(source: Any, name: str, color_type: str, max_pixels: int) -> Any:
    """An input of :func:`read_image` as it is now, whatever its owner does next.

    A video reader fills one buffer again and again, and the frames of a file are one
    Pillow image; what is read ahead must not be. A Pillow image becomes an array, or
    the :class:`ImageError` of one that cannot be decoded; a path stays one.
    """
    if isinstance(source, np.ndarray):
        return np.array(source)
    if isinstance(source, (bytearray, memoryview)):
        return bytes(source)
    if isinstance(source, Image.Image):
        try:
            return _from_pillow(source, name, color_type, max_pixels)
        except ImageError as error:
            return error
    return source


def _read_file(path: str | Path) -> bytes:
    try:
        return read_bytes(as_path(path))
    except (OSError, ValueError) as error:  # an empty path, a zero byte in one
        reason = getattr(error, 'strerror', None) or one_line(error)
        raise ImageError(
            f'{path or "the input"}: this image cannot be opened ({reason}). Check '
            'the path.'
        ) from error


def _decode(
    data: bytes, name: str, color_type: str, backend: str, max_pixels: int
) -> np.ndarray:
    if not data:
        raise ImageError(f'{name}: this file has zero bytes. Copy it again.')
    _check(name, check_header, data, max_pixels)
    # Some versions of OpenCV fill the rest of a cut-off JPEG with grey.
    is_jpeg = data.startswith(b'\xff\xd8')
    if is_jpeg and data.rfind(b'\xff\xd9') < data.rfind(b'\xff\xda'):
        raise ImageError(
            f'{name}: this JPEG is cut off before its end. Copy it again or remove it.'
        )
    try:
        image = mmcv.imfrombytes(data, flag=color_type, backend=backend)
        reason = 'its pixels are damaged'
    except Exception as error:  # decoders raise all kinds for broken files
        image, reason = None, one_line(error)
    if image is None:
        raise ImageError(
            f'{name}: this image cannot be decoded ({reason}). Replace or remove it.'
        )
    return _three_channels(image)


def _check(name: str, check: Callable[..., None], *values: Any) -> None:
    try:
        check(*values)
    except ValueError as error:
        raise ImageError(f'{name}: {error}') from error


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
    _check(name, check_size, height, width, max_pixels)
    return _three_channels(array)


def _from_pillow(
    image: Image.Image, name: str, color_type: str, max_pixels: int
) -> np.ndarray:
    _check(name, check_size, image.height, image.width, max_pixels)
    if image.mode in ('I', 'F'):
        raise ImageError(
            f'{name}: Pillow images of mode {image.mode!r} have no fixed range. '
            "Convert it to 'L' or 'RGB', or give the path of the file."
        )
    try:
        image.load()  # Pillow reads the pixels, and some EXIF data, only now
        turn = _UPRIGHT.get(_orientation(image))
        if turn is not None and color_type not in _AS_STORED:
            image = image.transpose(turn)
        if image.mode.startswith('I;16'):
            return _three_channels(np.asarray(image).astype(np.uint16))
        return np.ascontiguousarray(np.asarray(image.convert('RGB'))[..., ::-1])
    except Exception as error:  # Pillow raises all kinds for broken files
        raise ImageError(
            f'{name}: this image cannot be decoded ({error}). Replace or remove it.'
        ) from error


def _orientation(image: Image.Image) -> int:
    try:
        return image.getexif().get(_ORIENTATION, 1)
    except Exception:  # damaged EXIF data; decoders pass over them
        return 1


def _three_channels(image: np.ndarray) -> np.ndarray:
    """(H, W[, 1, 3 or 4]) uint8 or uint16 to (H, W, 3) uint8."""
    if image.dtype == np.uint16:
        image = (image >> 8).astype(np.uint8)
    if image.ndim == 2 or image.shape[2] == 1:
        return cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_GRAY2BGR)
    return np.ascontiguousarray(image[..., :3])


class Thumbnails(Sequence):
    """Images of a sheet, read from their paths when it asks for them."""

    def __init__(self, files: Sequence[str]) -> None:
        self.files = files

    def __len__(self) -> int:
        return len(self.files)

    # no slices
    def __getitem__(self, i: int) -> np.ndarray:  # type: ignore[override]
        """(H, W, 3) uint8, red green blue."""
        return read_image(self.files[i])[..., ::-1]
