# SPDX-License-Identifier: Apache-2.0
"""Listing of image files in a folder, in a fixed order, with warnings."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Sequence
from pathlib import Path

from mmengine.logging import print_log

#: A file counts as an image if its name ends so (upper or lower case).
IMAGE_ENDINGS = ('.jpg', '.jpeg', '.png', '.bmp', '.webp', '.tif', '.tiff')

#: Folders in which systems keep thumbnails and what was deleted, in lower case;
#: besides those that begin with one of ``.@$`` (@eaDir, $RECYCLE.BIN).
SYSTEM_FOLDERS = {
    *('__macosx', '#recycle', '#snapshot', '~snapshot', 'lost+found', 'recycler'),
    *('system volume information', 'network trash folder', 'temporary items'),
}

#: Files that converters write beside the images.
_OF_CONVERTERS = {'SHA256SUMS', 'conversion.json'}
_reported: set[tuple[str, frozenset[str]]] = set()


def log(message: str, level: int = logging.INFO) -> None:
    """A line in the current log."""
    print_log(printable(message), logger='current', level=level)


def printable(text: str) -> str:
    """A text with what is no UTF-8 in file names written as an escape.

    Python keeps such bytes as surrogates; logs, terminals and figures refuse those.
    """
    return text.encode('utf-8', 'backslashreplace').decode('utf-8')


def one_line(error: Exception) -> str:
    """Kind and message of an error; those of OpenCV have several lines."""
    return f'{type(error).__name__}: {" ".join(str(error).split())}'


def is_image_name(name: str) -> bool:
    """Whether a file of this name counts as an image; hidden ones do not."""
    return name.lower().endswith(IMAGE_ENDINGS) and not name.startswith('.')


def is_system_folder(name: str) -> bool:
    """Whether a folder of this name is hidden, or a system's and not the user's."""
    return name.startswith(('.', '@', '$')) or name.casefold() in SYSTEM_FOLDERS


def list_images(folder: str | Path) -> list[str]:
    """Names of the images directly in a folder, sorted by code point.

    The order does not depend on the file system or the locale. What is no image (other
    endings, hidden files, sub-folders) is reported in one line of the log; no image at
    all is a FileNotFoundError.
    """
    folder = Path(folder)
    require_folder(folder, 'the images of the data set')
    names, inner, others = _scan(folder)
    _report_others(folder, [*others, *(entry.name for entry in inner)])
    if not names:
        raise FileNotFoundError(
            f'{folder}: expected images ({", ".join(IMAGE_ENDINGS)}), found none.'
        )
    return sorted(names)


def walk_images(
    folder: str | Path, skip: Sequence[str] = (), keep_broken: bool = False
) -> list[str]:
    """Paths of all images of a folder tree, relative to it with '/', sorted.

    Links are followed. Every folder is entered once: a link to a folder that is reached
    in another way too (a loop, for example) is left out, and so are folders directly in
    ``folder`` that ``skip`` names, hidden ones and those of file servers
    (:data:`SYSTEM_FOLDERS`). The log says so. A link to nothing is a FileNotFoundError,
    or listed with ``keep_broken``.
    """
    folder = Path(folder)
    require_folder(folder, 'a folder of images')
    found: list[tuple[str, ...]] = []
    others: list[str] = []
    aside: list[str] = []
    folders: list[tuple[str, ...]] = [()]
    links: list[tuple[str, ...]] = []
    entered: set[tuple[int, int]] = set()
    while folders or links:
        # Links last and in a fixed order, so that what they double is the same
        # on every file system.
        parts = folders.pop() if folders else links.pop(links.index(min(links)))
        stat = os.stat(folder.joinpath(*parts))
        if (stat.st_dev, stat.st_ino) in entered:
            log(
                f'{folder.joinpath(*parts)}: a link to a folder that is read '
                'already; not followed.',
                logging.WARNING,
            )
            continue
        entered.add((stat.st_dev, stat.st_ino))
        names, inner, rest = _scan(folder.joinpath(*parts), keep_broken)
        found += [(*parts, name) for name in names]
        others += ['/'.join((*parts, name)) for name in rest]
        for entry in inner:
            here = (*parts, entry.name)
            if is_system_folder(entry.name):
                aside.append('/'.join(here))
            elif parts or entry.name not in skip:
                (links if entry.is_symlink() else folders).append(here)
    _report_others(folder, others)
    _report_aside(folder, aside)
    return ['/'.join(parts) for parts in sorted(found)]


def _scan(
    folder: Path, keep_broken: bool = False
) -> tuple[list[str], list[os.DirEntry[str]], list[str]]:
    """Names of images directly in a folder, its folders, and names of all else."""
    images, folders, others = [], [], []
    with os.scandir(folder) as entries:
        for entry in entries:
            if _is_folder(entry):
                folders.append(entry)
            elif not is_image_name(entry.name):
                others.append(entry.name)
            elif _is_file(entry):
                images.append(entry.name)
            elif os.path.exists(entry.path):  # a pipe: reading would wait for ever
                others.append(entry.name)
            elif keep_broken:
                images.append(entry.name)
            else:
                raise FileNotFoundError(
                    f'{entry.path}: expected an image, found a link to nothing. '
                    'Repair or remove it.'
                )
    return images, folders, others


class ExistingFiles:
    """Which files exist under a folder: one look at each sub-folder.

    A look at each of 100,000 images takes minutes on a network file system.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self._names: dict[Path, set[str]] = {}

    def __contains__(self, relative: str) -> bool:
        path = self.folder / relative
        if path.parent not in self._names:
            names = set()
            if path.parent.is_dir():
                with os.scandir(path.parent) as entries:
                    names = {entry.name for entry in entries if _is_file(entry)}
            self._names[path.parent] = names
        return path.name in self._names[path.parent]


def natural_key(text: str) -> tuple:
    """Sort key under which 'cam2' comes before 'cam10'."""
    pieces = re.split('([0-9]+)', text)
    # odd pieces are the numbers; the text itself tells '01' from '1'
    return tuple(int(p) if i % 2 else p for i, p in enumerate(pieces)), text


def as_path(path: str | Path) -> Path:
    """A path as a user gives it, home expanded; '' is a ValueError."""
    if path == '':
        raise ValueError("expected a path, got an empty text; '.' is this folder.")
    return Path(path).expanduser()


def require_folder(folder: str | Path, purpose: str) -> None:
    """Raise unless ``folder`` is one; ``purpose`` is what it should hold."""
    folder = Path(folder)
    if not folder.exists():
        raise FileNotFoundError(f'{folder}: no such folder; expected {purpose} there.')
    if not folder.is_dir():
        raise NotADirectoryError(
            f'{folder}: this is a file; expected a folder with {purpose}.'
        )


def raise_all(errors: Sequence[ValueError]) -> None:
    """Raise the first of some errors and say how many more there are.

    Their messages begin with the path of an image and ': '.
    """
    if not errors:
        return
    message = str(errors[0])
    if len(errors) > 1:
        names = [str(e).split(': ', 1)[0].rsplit('/', 1)[-1] for e in errors[1:6]]
        more = ', …' if len(errors) > 6 else ''
        message += f' {len(errors) - 1:,} more like it: {", ".join(names)}{more}'
    raise ValueError(message) from errors[0]


def _unreported(folder: Path, names: Sequence[str]) -> str:
    """The first of some names; '' if there is none or this was asked before."""
    key = (str(folder), frozenset(names))
    if not names or key in _reported:
        return ''
    _reported.add(key)
    return ', '.join(sorted(names)[:5]) + (', …' if len(names) > 5 else '')


def _report_others(folder: Path, names: Sequence[str]) -> None:
    """Say once, in one line of the log, what in a folder is no image."""
    names = [name for name in names if name.rpartition('/')[2] not in _OF_CONVERTERS]
    if shown := _unreported(folder, names):
        log(f'{folder}: left out what is no image ({len(names):,}): {shown}')


def _report_aside(folder: Path, names: Sequence[str]) -> None:
    """Say once how many images are in folders that are not the user's."""
    shown = _unreported(folder, names)
    if not shown:
        return
    images = sum(
        name.lower().endswith(IMAGE_ENDINGS)
        for top in names
        for _, _, files in os.walk(folder / top)
        for name in files
    )
    if images:
        log(
            f'{folder}: left out {images:,} images in hidden folders and folders of '
            f'systems: {shown}',
            logging.WARNING,
        )


# os.DirEntry knows what an entry is without a further look, unless it is a
# link; and it raises on a link to itself, where os.path says False.
def _is_folder(entry: os.DirEntry[str]) -> bool:
    return os.path.isdir(entry.path) if entry.is_symlink() else entry.is_dir()


def _is_file(entry: os.DirEntry[str]) -> bool:
    return os.path.isfile(entry.path) if entry.is_symlink() else entry.is_file()
