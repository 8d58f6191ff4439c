# SPDX-License-Identifier: Apache-2.0
"""Writing files so that they are whole or not there."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from mmengine.fileio import LocalBackend, register_backend

from mmreid_gcl.checkpoint import hint_of_good

#: Name of :class:`AtomicBackend` in ``backend_args=dict(backend=...)``.
ATOMIC = 'mmreid_gcl_atomic'
#: The position inside an epoch at which a run was stopped.
INTERRUPTED = 'interrupted.pth'
POINTER = 'last_checkpoint'
_PARTIAL = '.partial'


def write_atomically(path: str | Path, data: bytes) -> None:
    """Write a file so that a crash leaves the old one or the new one.

    Args:
        path (str | Path): Is replaced if it exists.
        data (bytes): The content.

    Raises:
        OSError: If it cannot be written, for example because the disk is
            full; what was there is untouched.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f'.{path.name}{_PARTIAL}')
    try:
        with open(partial, 'wb') as file:
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
    """Delete what a killed process was writing into a folder."""
    for file in Path(folder).glob(f'.*{_PARTIAL}'):
        file.unlink(missing_ok=True)


def point_to(work_dir: str | Path, checkpoint: str) -> None:
    """Make ``--resume`` take this checkpoint from now on."""
    write_atomically(Path(work_dir) / POINTER, str(checkpoint).encode())


class AtomicBackend(LocalBackend):
    """mmengine's backend of local files, with writes that are whole or nothing."""

    def put(self, obj: bytes, filepath: str | Path) -> None:
        """Write a file; see :func:`write_atomically`.

        Args:
            obj (bytes): The content.
            filepath (str | Path): Where to.

        Raises:
            OSError: If it cannot be written; the message names the last good
                checkpoint beside it.
        """
        try:
            write_atomically(filepath, obj)
        except OSError as error:
            raise OSError(
                error.errno,
                f'{error.strerror or error}: this file of {len(obj) / 1e6:.1f} MB '
                f'could not be written{_space(filepath)}. Make room and '
                f'--resume.{hint_of_good(filepath)}',
                str(filepath),
            ) from error


def _space(path: str | Path) -> str:
    try:
        free = shutil.disk_usage(Path(path).parent).free
    except OSError:
        return ''
    return f' ({free / 1e6:.1f} MB are free)'


register_backend(ATOMIC, AtomicBackend, force=True)
