# SPDX-License-Identifier: Apache-2.0
"""Arrays in shared memory that every process fills and every process reads."""

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

_MAGIC = b'mmreid-gcl image store 2'
#: Behind the magic: processes that opened it, bytes in use, entries in use, whether
#: there is no more room.
_HEADER = struct.Struct('<QQQQ')
#: Behind that: how many are to open it, and the process that made it.
_MAKER = struct.Struct('<QQ')
_MAKER_START = len(_MAGIC) + _HEADER.size
_TABLE_START = 4096
#: Of the open-addressing table: key (128 bits), where the record is, its length.
_ENTRY = np.dtype([('key', '<u8', 2), ('start', '<u8'), ('length', '<u8')])
_SHAPE = struct.Struct('<QQQQ')


class ImageStore:
    """uint8 images by name, shared by the processes of a machine.

    A file in shared memory that is mapped by all of them. Whoever misses an image
    adds it; nothing is ever moved or replaced, so reading needs no lock. Records
    are written with system calls and a full file system is noticed as an error
    there, not as a crash on access.

    Args:
        folder (str | Path, optional): Where the file is. Defaults to ``/dev/shm``
            where there is one, else the folder of temporary files.
        limit_bytes (int): Images beyond this are not kept. Defaults to 4 GiB.
        max_images (int): At most so many; takes 64 to 128 bytes each. Defaults to
            2**17.
        share (str, optional): A name that the processes of one run agree on; None
            keeps the file to this process and its children.
        openers (int): With ``share``, how many processes open it; the last one
            removes its name, so that nothing stays behind. If one of them fails
            before, those that end in order remove it, and otherwise the next run
            in this folder.

    Raises:
        OSError: If the system is no Unix or the file cannot be made.
        ValueError: If a limit is not positive, or the shared file is not ours.
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
        self.slots = 1 << (2 * max_images - 1).bit_length()  # at most half full
        self.max_images = max_images
        self._records = _TABLE_START + self.slots * _ENTRY.itemsize
        self.size = self._records + limit_bytes
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
        self._map()

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

    def _map(self) -> None:
        self._memory = mmap.mmap(self._file, self.size, prot=mmap.PROT_READ)
        self._table = np.frombuffer(
            self._memory, _ENTRY, count=self.slots, offset=_TABLE_START
        )

    def __getstate__(self) -> dict:
        """For a process that is spawned while this one lives (Linux)."""
        state = {
            name: value
            for name, value in vars(self).items()
            if name not in ('_memory', '_table', '_thread_lock')
        }
        return {**state, '_file': f'/proc/{os.getpid()}/fd/{self._file}'}

    def __setstate__(self, state: dict) -> None:
        vars(self).update(state)
        self._file = os.open(state['_file'], os.O_RDWR)
        self._thread_lock = threading.Lock()
        self._map()

    def __deepcopy__(self, memo: dict) -> ImageStore:
        return self

    def get(self, name: str) -> tuple[np.ndarray, Any] | None:
        """An image and what was kept with it.

        Args:
            name (str): As given to :meth:`add`.

        Returns:
            tuple[np.ndarray, object] | None: A copy of the (H, W, C) uint8 image,
            and the object; None if it is not there (yet).
        """
        entry = self._table[self._find(_key(name))]
        start, length = int(entry['start']), int(entry['length'])
        if start == 0:
            return None
        height, width, channels, rest = _SHAPE.unpack_from(self._memory, start)
        pixels = start + _SHAPE.size
        count = height * width * channels
        image = np.frombuffer(self._memory, np.uint8, count, pixels)
        image = image.reshape(height, width, channels).copy()
        more = self._memory[pixels + count : start + length]
        return image, pickle.loads(more) if rest else None

    def add(self, name: str, image: np.ndarray, more: object = None) -> bool:
        """Keep an image, unless it is there already or there is no room.

        Args:
            name (str): What :meth:`get` is asked with.
            image (np.ndarray): (H, W, C) uint8.
            more (object, optional): A small object that goes with it.

        Returns:
            bool: Whether it is in the store now.

        Raises:
            TypeError: If the image is not uint8 with three axes.
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
            slot = self._find(key)
            if self._table[slot]['start']:
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
            used += -(-len(record) // 8) * 8
            self._set_header(opened, used, images + 1, 0)
            # Its place comes last: a reader, who takes no lock, sees all or nothing,
            # and so does the next writer if this one is killed anywhere here.
            place = _TABLE_START + slot * _ENTRY.itemsize
            entry = np.array((key, 0, len(record)), _ENTRY)
            _write(self._file, entry.tobytes(), place)
            offset = place + _ENTRY.fields['start'][1]
            _write(self._file, struct.pack('<Q', start), offset)
            return True

    def __len__(self) -> int:
        """Images that are kept."""
        return self._header()[2]

    @property
    def used_bytes(self) -> int:
        """Bytes of images that are kept."""
        return self._header()[1]

    def _find(self, key: tuple[int, int]) -> int:
        """The slot of a key, or the empty one where it would go."""
        slot = key[0] & (self.slots - 1)
        while True:
            entry = self._table[slot]
            if not entry['length'] or tuple(entry['key']) == key:
                return slot
            slot = (slot + 1) & (self.slots - 1)

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


def _key(name: str) -> tuple[int, int]:
    return struct.unpack('<QQ', blake2b(name.encode(), digest_size=16).digest())


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
