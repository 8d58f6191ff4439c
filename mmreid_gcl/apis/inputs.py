# SPDX-License-Identifier: Apache-2.0
"""Iteration over the images that a user passes: files, folders, arrays."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sized
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mmreid_gcl.datasets.image_folder import as_path, walk_images


def is_single(inputs: Any) -> bool:
    """Whether an input is one image, not a folder or a collection."""
    if isinstance(inputs, (str, Path)):
        return not as_path(inputs).is_dir()
    if isinstance(inputs, np.ndarray):
        return inputs.ndim != 4
    return isinstance(inputs, (bytes, bytearray, memoryview, Image.Image))


def list_inputs(inputs: Any) -> tuple[Iterable[tuple[str, Any]], int | None]:
    """Pairs of a name for messages and an image; how many there are.

    ``inputs`` is one image (a path, an array, bytes, a Pillow image), a folder, or a
    list, array (n, H, W, C), generator of images, whose number is not known before:
    None.
    """
    if is_single(inputs):
        return [(_name(inputs, 'the image'), inputs)], 1
    if isinstance(inputs, (str, Path)):
        folder = as_path(inputs)
        paths = [str(folder / name) for name in walk_images(folder, keep_broken=True)]
        if not paths:
            raise FileNotFoundError(f'{folder}: expected images, found none.')
        return [(path, path) for path in paths], len(paths)
    if isinstance(inputs, dict) or not isinstance(inputs, Iterable):
        raise TypeError(
            'expected an image (a path, an array in the order blue green red, a '
            'Pillow image), a folder, or a list or generator of images; got a '
            f'{type(inputs).__name__}.'
        )
    total = len(inputs) if isinstance(inputs, Sized) else None
    named = ((_name(item, f'inputs[{i}]'), item) for i, item in enumerate(inputs))
    return named, total


def _name(item: Any, otherwise: str) -> str:
    return (isinstance(item, (str, Path)) and str(item)) or otherwise


def load_ahead(
    items: Iterable, load: Callable[[Any], Any], workers: int, ahead: int
) -> Iterator:
    """``map(load, items)`` in ``workers`` threads, ``ahead`` items before the reader.

    Decoding and resizing release Python's lock, so threads do. ``items`` may be
    endless; 0 workers load in this thread. An exception of ``load`` is raised at its
    place.
    """
    if workers == 0:
        yield from map(load, items)
        return
    items = iter(items)
    with ThreadPoolExecutor(workers) as pool:
        try:
            waiting = deque(pool.submit(load, item) for item in islice(items, ahead))
            while waiting:
                done = waiting.popleft().result()
                waiting.extend(pool.submit(load, item) for item in islice(items, 1))
                yield done
        finally:
            # a reader that stops early does not wait for what it will not read
            pool.shutdown(wait=False, cancel_futures=True)


def in_batches(items: Iterable, size: int) -> Iterator[list]:
    """Lists of ``size`` items, the last one shorter."""
    items = iter(items)
    while batch := list(islice(items, size)):
        yield batch
