# SPDX-License-Identifier: Apache-2.0
"""A store of arrays in memory that processes share."""

from __future__ import annotations

import atexit
import errno
import mmap
import os
import pickle
import struct
import tempfile
import threading
from collections.abc import Callable
from contextlib import contextmanager, suppress
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np

from mmreid_gcl.files import is_alive, lock

try:
    import fcntl
except ImportError:  # not a Unix
    fcntl = None  # type: ignore[assignment]  # asked for with `is None`

_MAGIC = b'mmreid-gcl image store 3'
#: Behind the magic: processes that opened it, bytes in use, images, whether there is
#: no more room.
_HEADER = struct.Struct('<QQQQ')
#: Behind that: how many are to open it, and the process that made it.
_MAKER = struct.Struct('<QQ')
_MAKER_START = len(_MAGIC) + _HEADER.size
_TABLE_START = 4096
#: An image in the table: key (128 bits), where the record is, its length.
_ENTRY = struct.Struct('<16sQQ')
_SHAPE = struct.Struct('<QQQQ')


class ImageStore:
    """uint8 images by name, shared by the processes of a machine.

    A file in shared memory that is mapped by all of them. Whoever misses an image adds
    it; nothing is ever moved or replaced, so reading needs no lock. Records are written
    with system calls: a full file system is an error there, not a crash on access.

    Args:
        folder (str | Path, optional): Where the file is. Defaults to ``/dev/shm``
            where there is one, else the folder of temporary files.
        limit_bytes (int): Images beyond this are not kept. Defaults to 4 GiB.
        max_images (int): At most so many; each takes 32 bytes, and about
            300 in every process that reads it.
        share (str, optional): A name that the processes of one run agree on; None
            keeps the file to this process and its children.
        openers (int): With ``share``, how many processes open it; the last one
            removes its name, so that nothing stays behind. If one of them fails
            before, those that end in order remove it, else the next run here.
    """

    def __init__(
        self,
        folder: str | Path | None = None,
        limit_bytes: int = 4 << 30,
        max_images: int = 1 << 17,
        share: str | None = None,
        openers: int = 1,
    ) -> None:
        if fcntl is None:
            raise OSError('The image cache needs a Unix system; leave it out here.')
        if limit_bytes <= 0 or max_images <= 0:
            raise ValueError('limit_bytes and max_images must be positive.')
        self.max_images = max_images
        self._records = _TABLE_START + max_images * _ENTRY.size
        self.size = self._records + limit_bytes
        #: Where the images are, as far as this process has read the table.
        self._places: dict[bytes, tuple[int, int]] = {}
        if folder is None:
            shm = Path('/dev/shm')
            folder = shm if os.access(shm, os.W_OK) else tempfile.gettempdir()
        self._thread_lock = threading.Lock()
        for left in Path(folder).glob('mmreid-*.images'):
            _remove_name(left, _has_lost_its_maker)
        if share is None:
            self._file = _nameless(Path(folder))
            self._prepare(1)
        else:
            self._open_shared(Path(folder), share, openers)
        self._memory = mmap.mmap(self._file, self.size, prot=mmap.PROT_READ)

    def _open_shared(self, folder: Path, share: str, openers: int) -> None:
        digest = blake2b(f'{os.getuid()} {share}'.encode(), digest_size=12).hexdigest()
        path = folder / f'mmreid-{digest}.images'
        flags = os.O_RDWR | os.O_CREAT | getattr(os, 'O_NOFOLLOW', 0)
        joined = False
        while not joined:
            self._file = os.open(path, flags, 0o600)
            with self._lock():
                joined = self._join(path, openers)
            if not joined:
                os.close(self._file)

    def _join(self, path: Path, openers: int) -> bool:
        """Count this process in; False if the file has just lost its name."""
        status = os.fstat(self._file)
        if status.st_nlink == 0:
            return False
        if status.st_uid == os.getuid() and status.st_size == 0:
            self._prepare(openers)
        elif (
            status.st_uid != os.getuid()
            or status.st_size != self.size
            or os.pread(self._file, len(_MAGIC), 0) != _MAGIC
        ):
            raise ValueError(
                f'{path} is not the image cache of this run. If it was left behind, '
                'remove it; otherwise give all processes of the run one config.'
            )
        opened, *rest = self._header()
        self._set_header(opened + 1, *rest)
        if opened + 1 >= openers:
            os.unlink(path)
        else:
            atexit.register(_remove_name, path, partial(_is_incomplete, status.st_ino))
        return True

    def _prepare(self, openers: int) -> None:
        # First, so that the next run sees whose it was if this one is killed here.
        maker = bytes(_HEADER.size) + _MAKER.pack(openers, os.getpid())
        os.pwrite(self._file, _MAGIC + maker, 0)
        # Written, so that it has memory; the images behind it have none yet.
        _write(self._file, bytes(self._records - _TABLE_START), _TABLE_START)
        os.ftruncate(self._file, self.size)

    def __getstate__(self) -> dict:
        """For a process that is spawned while this one lives (Linux)."""
        file = f'/proc/{os.getpid()}/fd/{self._file}'
        return {**vars(self), '_file': file, '_memory': None, '_thread_lock': None}

    def __setstate__(self, state: dict) -> None:
        vars(self).update(state)
        self._file = os.open(state['_file'], os.O_RDWR)
        self._thread_lock = threading.Lock()
        self._memory = mmap.mmap(self._file, self.size, prot=mmap.PROT_READ)

    def __deepcopy__(self, memo: dict) -> ImageStore:
        return self

    def get(self, name: str) -> tuple[np.ndarray, Any] | None:
        """A copy of the (H, W, C) image and what was kept with it, or None."""
        place = self._find(_key(name))
        if place is None:
            return None
        start, length = place
        height, width, channels, rest = _SHAPE.unpack_from(self._memory, start)
        pixels = start + _SHAPE.size
        count = height * width * channels
        image = np.frombuffer(self._memory, np.uint8, count, pixels)
        image = image.reshape(height, width, channels).copy()
        more = self._memory[pixels + count : start + length]
        return image, pickle.loads(more) if rest else None

    def add(self, name: str, image: np.ndarray, more: object = None) -> bool:
        """Keep an (H, W, C) uint8 image and a small object, unless there is no room.

        True if the store has the name now; the first image of a name stays.
        """
        if image.dtype != np.uint8 or image.ndim != 3:
            raise TypeError(
                f'{name}: the image cache keeps (H, W, C) uint8 images, got '
                f'{image.dtype} {image.shape}. Cache only what loads and resizes.'
            )
        rest = b'' if more is None else pickle.dumps(more, pickle.HIGHEST_PROTOCOL)
        record = _SHAPE.pack(*image.shape, len(rest)) + image.tobytes() + rest
        key = _key(name)
        with self._lock():
            if self._find(key) is not None:
                return True
            opened, used, images, full = self._header()
            start = self._records + used
            if full or images >= self.max_images or start + len(record) > self.size:
                return False
            try:
                _write(self._file, record, start)
            except OSError as error:
                if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.ENOMEM):
                    raise
                self._set_header(opened, used, images, 1)
                return False
            entry = _ENTRY.pack(key, start, len(record))
            _write(self._file, entry, _TABLE_START + images * _ENTRY.size)
            # The count comes last: a reader, who takes no lock, sees all or nothing,
            # and so does the next writer if this one is killed anywhere here.
            used += -(-len(record) // 8) * 8
            self._set_header(opened, used, images + 1, 0)
            return True

    def __len__(self) -> int:
        """Images that are kept."""
        return self._header()[2]

    @property
    def used_bytes(self) -> int:
        """Bytes of images that are kept."""
        return self._header()[1]

    def _find(self, key: bytes) -> tuple[int, int] | None:
        """Start and length of a record; what others added is read if need be."""
        if key not in self._places:
            for i in range(len(self._places), len(self)):
                entry = _TABLE_START + i * _ENTRY.size
                found, *place = _ENTRY.unpack_from(self._memory, entry)
                self._places[found] = place[0], place[1]
        return self._places.get(key)

    def _header(self) -> tuple[int, ...]:
        return _HEADER.unpack(os.pread(self._file, _HEADER.size, len(_MAGIC)))

    def _set_header(self, *values: int) -> None:
        os.pwrite(self._file, _HEADER.pack(*values), len(_MAGIC))

    @contextmanager
    def _lock(self):
        """One writer at a time, among threads and among processes."""
        with self._thread_lock:
            fcntl.lockf(self._file, fcntl.LOCK_EX)
            try:
                yield
            finally:
                fcntl.lockf(self._file, fcntl.LOCK_UN)


def _key(name: str) -> bytes:
    return blake2b(name.encode(), digest_size=16).digest()


def _write(file: int, data: bytes, offset: int) -> None:
    view = memoryview(data)
    while view:
        done = os.pwrite(file, view, offset)
        view, offset = view[done:], offset + done


def _nameless(folder: Path) -> int:
    """A file that is gone with this process, however that ends."""
    with suppress(AttributeError, OSError):  # not a Linux, not such a file system
        return os.open(folder, os.O_RDWR | os.O_TMPFILE, 0o600)
    file, path = tempfile.mkstemp('.images', 'mmreid-', folder)
    with suppress(FileNotFoundError):  # another run took it for a lost one
        os.unlink(path)
    return file


def _remove_name(path: Path, wrong: Callable[[int], bool]) -> None:
    """Unlink a shared file of this user if ``wrong`` says so of what it is."""
    with suppress(OSError):
        file = os.open(path, os.O_RDWR | getattr(os, 'O_NOFOLLOW', 0))
        try:
            status = os.fstat(file)
            start = os.pread(file, len(_MAGIC), 0)
            ours = status.st_uid == os.getuid() and start in (_MAGIC, b'')
            # whoever makes it, or joins, has the lock and looks for its name
            if ours and lock(file) and os.fstat(file).st_nlink and wrong(file):
                os.unlink(path)
        finally:
            os.close(file)


def _is_incomplete(inode: int, file: int) -> bool:
    """Whether it is this file still, and not all have opened it."""
    opened = _HEADER.unpack(os.pread(file, _HEADER.size, len(_MAGIC)))[0]
    openers = _MAKER.unpack(os.pread(file, _MAKER.size, _MAKER_START))[0]
    return os.fstat(file).st_ino == inode and opened < openers


def _has_lost_its_maker(file: int) -> bool:
    """Whether who made it was killed: before it had content, or all had opened it."""
    maker = os.pread(file, _MAKER.size, _MAKER_START)
    return len(maker) < _MAKER.size or not is_alive(_MAKER.unpack(maker)[1])
