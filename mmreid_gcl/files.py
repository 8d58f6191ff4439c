# SPDX-License-Identifier: Apache-2.0
"""Atomic file writing, and locks on files."""

from __future__ import annotations

import errno
import os
import socket
import time
import uuid
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]  # asked for with `is None`

_PARTIAL = '.partial'


def write_atomically(path: str | Path, data: bytes | memoryview) -> None:
    """Write a file so that a crash leaves the old one or the new one.

    What was there is untouched if that fails, for example on a full disk (``OSError``).
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # of this process and call alone; the pid tells remove_partial who writes
    own = f'{os.getpid()}-{uuid.uuid4().hex[:8]}'
    partial = path.with_name(f'.{path.name}.{own}{_PARTIAL}')
    try:
        with open(partial, 'wb') as file:
            lock(file.fileno())
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """Bring the new name to the disk, where folders can be opened."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(handle)
    except OSError:
        pass
    finally:
        os.close(handle)


def remove_partial(folder: str | Path) -> None:
    """Delete what processes that are gone were writing into a folder."""
    for file in Path(folder).glob(f'.*{_PARTIAL}'):
        pid = file.name.removesuffix(_PARTIAL).rpartition('.')[2].partition('-')[0]
        if pid.isdecimal() and is_alive(int(pid)):
            continue
        try:
            with open(file, 'r+b') as content:
                abandoned = lock(content.fileno())  # else of another machine
        except OSError:
            continue
        if abandoned:
            file.unlink(missing_ok=True)


def is_alive(pid: int) -> bool:
    """Whether a process of this number runs."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # of another user
        pass
    return True


def lock(handle: int) -> bool | None:
    """Lock an open file for this process, without waiting; None: there are no locks.

    The lock is the process's (``lockf``), not the open file's (``flock``): it ends with
    the process, however that ends, and a child that was forked with the file open, such
    as a loading process that outlives a killed training for some seconds, does not keep
    it. It also ends when the process closes any handle of the file.
    """
    if fcntl is None:
        return None
    try:
        fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return False if error.errno in (errno.EACCES, errno.EAGAIN) else None
    return True


def hold(path: str | Path) -> tuple[BinaryIO, bool]:
    """Lock a file, made if need be, and write into it who has it.

    Returns:
        tuple[BinaryIO, bool]: The file, whose end ends the lock, and whether its file
        system has locks at all.

    Raises:
        BlockingIOError: If another process has it; the text says which, as
            :func:`read_holder` does.
        OSError: If the file cannot be made.
    """
    # stays open; 'wb' would cut off who holds it
    file = open(path, 'a+b')  # noqa: SIM115
    got = lock(file.fileno())
    if got is False:
        who = read_holder(file)
        file.close()
        raise BlockingIOError(who)
    begin = time.strftime('%Y-%m-%d %H:%M:%S %z')
    with suppress(OSError):  # a full disk
        file.truncate(0)
        text = f'pid {os.getpid()} on {socket.gethostname()} since {begin}'
        file.write(text.encode())
        file.flush()
    return file, got is not None


def read_holder(file: BinaryIO) -> str:
    """Who wrote into a file of :func:`hold`, such as ' (pid 7 on host since …)'."""
    file.seek(0)
    text = file.read(300).decode(errors='replace').strip()
    return f' ({text})' if text else ''
