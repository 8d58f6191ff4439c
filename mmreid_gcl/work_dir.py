# SPDX-License-Identifier: Apache-2.0
"""The work dir of a training: lock, list of starts, last checkpoint."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import BinaryIO

from mmengine import dist
from mmengine.logging import print_log

from .checkpoint import hint_of_good
from .files import hold, lock, read_holder, write_atomically

_LOCK = '.train.lock'
POINTER = 'last_checkpoint'
_STARTS = 'starts.txt'
#: Locks that are held, by process (a forked one has none of them) and folder.
_held: dict[tuple[int, Path], BinaryIO] = {}


class WorkDirError(ValueError):
    """A work dir that cannot be trained in as it is; the message says why."""


def claim(folder: str | Path) -> None:
    """Let this training be the only one that writes into a folder, which is made.

    To be called on all ranks; rank 0, which writes, gets the lock. It is given back by
    :func:`release`, and by the system when the process ends. If another process has it,
    a :class:`WorkDirError` on all ranks.
    """
    refusal = [_claim(Path(folder)) if dist.is_main_process() else None]
    dist.broadcast_object_list(refusal, src=0)
    if refusal[0] is not None:
        raise WorkDirError(refusal[0])


def _claim(folder: Path) -> str | None:
    """Why the folder cannot be had; None if this process has it now."""
    folder = folder.resolve()
    if (os.getpid(), folder) in _held:
        return None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file, locked = hold(folder / _LOCK)
    except BlockingIOError as error:
        return (
            f'{folder}: another training writes into this folder{error}. Wait for it, '
            'end it with `kill` on its machine, or give another --work-dir.'
        )
    except OSError as error:
        return f'{folder}: nothing can be written there ({error}).'
    if not locked:
        print_log(
            f'{folder}: this file system has no locks. See to it that no second '
            'training writes into this folder.',
            logger='current',
            level=logging.WARNING,
        )
    _held[os.getpid(), folder] = file
    return None


def release() -> None:
    """Give back what this process has claimed."""
    while _held:
        _held.popitem()[1].close()


def holder(folder: str | Path) -> str | None:
    """Who trains in another process's folder now; None if nobody does.

    Such as ' (pid 7 on host since 2026-01-01 00:00:00 +0000)'.
    """
    try:
        with open(Path(folder) / _LOCK, 'r+b') as file:
            return read_holder(file) if lock(file.fileno()) is False else None
    except OSError:
        return None


def note_start(work_dir: str | Path, name: str) -> None:
    """Put the folder of a start last in the list of :func:`starts`."""
    text = ''.join(f'{line}\n' for line in [*starts(work_dir), name])
    write_atomically(Path(work_dir) / _STARTS, text.encode())


def starts(work_dir: str | Path) -> list[str]:
    """Folders of a run's starts in their order, which clocks do not tell."""
    try:
        return (Path(work_dir) / _STARTS).read_text(errors='replace').split()
    except OSError:
        return []


def point_to(work_dir: str | Path, checkpoint: str) -> None:
    """Make ``--resume`` take this checkpoint from now on."""
    write_atomically(Path(work_dir) / POINTER, str(checkpoint).encode())


def last_checkpoint(work_dir: str | Path) -> str | None:
    """The checkpoint that a work dir's ``last_checkpoint`` names; None without one.

    A path or address. The file of that name in the work dir goes before the path as it
    is written: a work dir may have been moved, or copied. A :class:`WorkDirError` if it
    names no file that is there.
    """
    pointer = Path(work_dir) / POINTER
    if not os.path.exists(pointer):  # also where the name is no name
        return None
    try:
        named = pointer.read_bytes().decode(errors='replace').strip()
    except OSError as error:
        raise WorkDirError(f'{pointer}: cannot be read ({error.strerror}).') from error
    if '://' in named:
        return named
    if named and named.isprintable():
        for path in (pointer.with_name(Path(named).name), Path(named)):
            if os.path.isfile(path):  # whatever the text is
                return str(path)
        problem = f'it names {named[:200]}, which is neither there nor beside it'
    else:
        problem = 'it is empty' if not named else 'it holds no path'
    raise WorkDirError(
        f'{pointer}: expected the path of a checkpoint, but {problem}.'
        f'{hint_of_good(pointer)} Resume from a file: --resume FILE. To begin anew '
        'remove last_checkpoint.'
    )
