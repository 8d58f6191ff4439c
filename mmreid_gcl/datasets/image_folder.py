# SPDX-License-Identifier: Apache-2.0
"""Listing the images of a folder: complete, in a fixed order, never silent."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path

from mmengine.logging import print_log

#: A file counts as an image if its name ends so (upper or lower case).
IMAGE_ENDINGS = ('.jpg', '.jpeg', '.png', '.bmp', '.webp', '.tif', '.tiff')

_reported: set[tuple[str, frozenset[str]]] = set()


def log(message: str, level: int = logging.INFO) -> None:
    """A line in the current log."""
    print_log(message, logger='current', level=level)


def is_image_name(name: str) -> bool:
    """Whether a file of this name counts as an image.

    Args:
        name (str): Name without folder. Hidden files (``._0002_c1s1…jpg`` of
            macOS archives) do not count.
    """
    return name.lower().endswith(IMAGE_ENDINGS) and not name.startswith('.')


def list_images(folder: str | Path) -> list[str]:
    """Names of the images directly in a folder, sorted by code point.

    The order does not depend on the file system or the locale. What is no
    image (other endings, hidden files, sub-folders) is reported in one line
    of the log.

    Args:
        folder (str | Path): The folder. Links to it and in it are followed.

    Returns:
        list[str]: File names, at least one.

    Raises:
        FileNotFoundError: If the folder is missing or holds no image, or an
            image is a link to nothing.
        NotADirectoryError: If it is a file.
    """
    folder = Path(folder)
    require_folder(folder, 'the images of the data set')
    names, others = [], []
    with os.scandir(folder) as entries:
        for entry in entries:
            if not is_image_name(entry.name) or entry.is_dir():
                others.append(entry.name)
            elif entry.is_file():
                names.append(entry.name)
            else:
                raise FileNotFoundError(
                    f'{entry.path}: expected an image, found a link to nothing. '
                    'Repair or remove it.'
                )
    report_others(folder, others)
    if not names:
        raise FileNotFoundError(
            f'{folder}: expected images ({", ".join(IMAGE_ENDINGS)}), found none.'
        )
    return sorted(names)


def walk_images(folder: str | Path, skip: Sequence[str] = ()) -> list[str]:
    """Paths of all images of a folder tree, relative to it, sorted.

    Links to folders are followed; a folder reached twice on one way down (a
    loop) is entered once, and the log says so.

    Args:
        folder (str | Path): Top of the tree.
        skip (Sequence[str]): Names of folders directly under ``folder`` to
            leave out. Defaults to ().

    Returns:
        list[str]: Relative paths with '/', sorted folder by folder.

    Raises:
        FileNotFoundError: If the folder is missing, or an image is a link to
            nothing.
        NotADirectoryError: If it is a file.
    """
    folder = Path(folder)
    require_folder(folder, 'a folder of images')
    found: list[tuple[str, ...]] = []
    others: list[str] = []
    # (path, its parts under `folder`, identities of the folders above it)
    stack = [(str(folder), (), frozenset([_identity(folder)]))]
    while stack:
        path, parts, above = stack.pop()
        with os.scandir(path) as entries:
            for entry in entries:
                here = (*parts, entry.name)
                if entry.is_dir():
                    if entry.name.startswith('.') or (not parts and entry.name in skip):
                        continue
                    identity = _identity(entry.path)
                    if identity in above:
                        log(
                            f'{entry.path}: a link back to a folder above it; not '
                            'followed.',
                            logging.WARNING,
                        )
                        continue
                    stack.append((entry.path, here, above | {identity}))
                elif not is_image_name(entry.name):
                    others.append('/'.join(here))
                elif entry.is_file():
                    found.append(here)
                else:
                    raise FileNotFoundError(
                        f'{entry.path}: expected an image, found a link to nothing. '
                        'Repair or remove it.'
                    )
    report_others(folder, others)
    return ['/'.join(parts) for parts in sorted(found)]


def require_folder(folder: str | Path, purpose: str) -> None:
    """Raise a clear error unless ``folder`` is a folder.

    Args:
        folder (str | Path): What to look at.
        purpose (str): What it should hold, for the message.

    Raises:
        FileNotFoundError: If there is nothing.
        NotADirectoryError: If it is a file.
    """
    folder = Path(folder)
    if not folder.exists():
        raise FileNotFoundError(f'{folder}: no such folder; expected {purpose} there.')
    if not folder.is_dir():
        raise NotADirectoryError(
            f'{folder}: this is a file; expected a folder with {purpose}.'
        )


def report_others(folder: str | Path, names: Sequence[str]) -> None:
    """Say once, in one line of the log, what in a folder is no image."""
    key = (str(folder), frozenset(names))
    if not names or key in _reported:
        return
    _reported.add(key)
    shown = ', '.join(sorted(names)[:5]) + (', …' if len(names) > 5 else '')
    log(f'{folder}: left out what is no image ({len(names):,}): {shown}')


def _identity(path: str | Path) -> tuple[int, int]:
    stat = os.stat(path)
    return stat.st_dev, stat.st_ino
