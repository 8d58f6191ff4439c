# SPDX-License-Identifier: Apache-2.0
"""The folder of a gallery: reading, writing, one writer at a time."""

from __future__ import annotations

import hashlib
import json
import logging
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePath

import faiss
import numpy as np

from mmreid_gcl.datasets.image_folder import as_path, log
from mmreid_gcl.files import hold, remove_partial, write_atomically

_FORMAT = 'mmreid_gcl gallery'
_VERSION = 1
META = 'gallery.json'
_INDEX = 'index.faiss'
_LOCK = '.gallery.lock'
#: Folders that this process writes; locks of files are between processes.
_written: set[Path] = set()
_written_guard = threading.Lock()
NO_TRACK = -1


def is_gallery(path: str | Path) -> bool:
    """Whether a folder holds a saved index."""
    return (as_path(path) / META).is_file()


def is_empty(folder: Path) -> bool:
    """Whether a folder holds nothing, or hidden files such as a lock alone."""
    return all(path.name[0] == '.' for path in folder.iterdir())


def require_inside(index: Path, paths: Sequence[str]) -> None:
    """Raise if an index would open files outside of its root."""
    for path in paths:
        if leaves_root(path):
            raise ValueError(
                f'{index}: the gallery lists {path!r}, which leaves the folder of its '
                "images. Expected paths below its root, without '..'. Build it again."
            )


def leaves_root(path: str) -> bool:
    """Whether a path may lead out of the folder to which it is relative."""
    return bool(PurePath(path).anchor) or '..' in PurePath(path).parts


@contextmanager
def sole_writer(folder: Path) -> Iterator[None]:
    """Let nobody else write a gallery; a ``BlockingIOError`` if somebody does."""
    folder = folder.resolve()
    with _written_guard:
        own = folder in _written
        _written.add(folder)
    if own:
        raise _being_written(folder, ' (this program)')
    try:
        if not folder.is_dir():
            raise _not_there(folder, 'there is no such folder')
        try:
            file, locked = hold(folder / _LOCK)
        except BlockingIOError as error:
            raise _being_written(folder, str(error)) from error
        if not locked:
            log(
                f'{folder}: this file system has no locks. See to it that nobody else '
                'writes this gallery.',
                logging.WARNING,
            )
        with file:
            yield
    finally:
        _written.discard(folder)


def _being_written(folder: Path, who: str) -> BlockingIOError:
    return BlockingIOError(
        f'{folder}: somebody else writes this gallery{who}. Try again later; reading '
        'is possible meanwhile.'
    )


def write(out: Path, meta: dict, data: memoryview) -> None:
    """Put a description and the index that belongs to it in place of what is there."""
    checksum = hashlib.sha256(data).hexdigest()
    meta = dict(format=_FORMAT, version=_VERSION, index_sha256=checksum, **meta)
    # Names that are no UTF-8 are escaped by JSON and come back the same.
    text = json.dumps(meta, indent=0).encode()
    remove_partial(out)
    # Under its own name until the description that belongs to it is there: at no
    # time is there a description without its index.
    own = out / _name_of(checksum)
    try:
        write_atomically(own, data)
        write_atomically(out / META, text)
    except OSError as error:
        own.unlink(missing_ok=True)
        raise OSError(
            error.errno,
            f'{out}: the gallery cannot be written ({error.strerror}). What was there '
            f'is unchanged. It needs {(len(data) + len(text)) >> 20:,} MiB beside that',
        ) from error
    own.replace(out / _INDEX)
    for stale in out.glob(_name_of('*')):  # of writers that were killed
        stale.unlink(missing_ok=True)


def read(folder: Path) -> tuple[dict, np.ndarray]:
    """Description and (N, C) features of a gallery, checked."""
    meta, data = _read_both(folder)
    path = folder / _INDEX
    return meta, _flat_features(path, data, meta['images'], meta['dim'])


def _read_both(folder: Path) -> tuple[dict, bytes]:
    """Description and index, which a writer may be about to replace."""
    meta = _read_meta(folder)
    while True:
        data = b''
        for name in (_name_of(meta['index_sha256']), _INDEX):
            try:
                data = (folder / name).read_bytes()
            except FileNotFoundError:
                continue
            if hashlib.sha256(data).hexdigest() == meta['index_sha256']:
                return meta, data
        before, meta = meta, _read_meta(folder)
        if before['index_sha256'] == meta['index_sha256']:
            _read_file(folder, _INDEX)
            raise ValueError(
                f'{folder / _INDEX}: this file is cut off, changed, or not of the '
                f'{META} beside it ({len(data):,} bytes). Build the gallery again.'
            )


def _flat_features(path: Path, data: bytes, images: int, dim: int) -> np.ndarray:
    """The (N, C) features in an index of faiss, taken out without its reader.

    That reader also takes kinds of index that name other files, and crashes on
    crafted ones.
    """
    width = min(max(dim, 1), 2**31 - 1)
    empty = faiss.serialize_index(faiss.IndexFlatIP(width)).tobytes()
    size = 4 * images * dim
    # the first 8 bytes are kind and width
    if len(data) != len(empty) + size or data[:8] != empty[:8]:
        raise ValueError(
            f'{path}: expected a flat index of {images} embeddings of width {dim}, '
            'this is another one. Build the gallery again.'
        )
    return np.frombuffer(data, '<f4', offset=len(empty)).reshape(images, dim)


def _read_meta(folder: Path) -> dict:
    data = _read_file(folder, META)
    path = folder / META
    try:
        meta = json.loads(data)
    except ValueError as error:
        raise ValueError(
            f'{path}: this file is cut off or no JSON ({error}). Build the gallery '
            'again.'
        ) from error
    if not isinstance(meta, dict) or meta.get('format') != _FORMAT:
        raise ValueError(f'{path}: this is not the description of a gallery index.')
    if meta.get('version') != _VERSION:
        raise ValueError(
            f'{path}: a gallery index of version {meta.get("version")}; this program '
            f'reads version {_VERSION}. Build the gallery again.'
        )
    expected: dict[str, type] = dict.fromkeys(
        ('model_hash', 'index_sha256', 'root'), str
    )
    expected.update(images=int, dim=int, paths=list, cameras=list, failed=dict)
    # what earlier galleries lack
    count = len(meta['paths']) if isinstance(meta.get('paths'), list) else 0
    meta.setdefault('tracks', [NO_TRACK] * count)
    meta.setdefault('times', [path.stat().st_mtime] * count)
    meta.setdefault('ids', list(range(count)))
    meta.setdefault('next_id', count)
    expected.update(tracks=list, times=list, ids=list, next_id=int)
    for key, kind in expected.items():
        if not isinstance(meta.get(key), kind):
            raise ValueError(
                f'{path}: {key!r} is missing or no {kind.__name__}. Build the gallery '
                'again.'
            )
    if not all(isinstance(name, str) for name in meta['paths'] + meta['cameras']):
        raise ValueError(f'{path}: expected texts as paths and cameras.')
    require_inside(path, meta['paths'])
    return meta


def _read_file(folder: Path, name: str) -> bytes:
    try:
        return (folder / name).read_bytes()
    except OSError as error:
        problem = f'{name} cannot be read ({error.strerror})'
        raise _not_there(folder, problem) from error


def _not_there(folder: Path, problem: str) -> FileNotFoundError:
    return FileNotFoundError(
        f'{folder}: expected a gallery index, a folder with {META} and {_INDEX}; '
        f'{problem}. Build one with build_gallery().'
    )


def _name_of(checksum: str) -> str:
    """File of an index whose description is not in place, or was just now."""
    return f'.index-{checksum[:16]}.faiss'
