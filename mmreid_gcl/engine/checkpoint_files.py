# SPDX-License-Identifier: Apache-2.0
"""A file backend of mmengine that writes checkpoints atomically."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path

from mmengine.fileio import LocalBackend, register_backend

from mmreid_gcl.checkpoint import hint_of_good
from mmreid_gcl.files import write_atomically

#: Name of :class:`AtomicBackend` in ``backend_args=dict(backend=...)``.
ATOMIC = 'mmreid_gcl_atomic'
#: The position inside an epoch at which a run was stopped.
INTERRUPTED = 'interrupted.pth'
_FULL = (errno.ENOSPC, errno.EDQUOT)


class AtomicBackend(LocalBackend):
    """mmengine's backend of local files, with writes that are whole or nothing."""

    def put(self, obj: bytes, filepath: str | Path) -> None:
        """Write a file whole; errors name the last good checkpoint beside it."""
        try:
            write_atomically(filepath, obj)
        except OSError as error:
            full = error.errno in _FULL
            raise OSError(
                error.errno,
                f'{error.strerror or error}: this file of {len(obj) / 1e6:.1f} MB '
                f'could not be written{_space(filepath) if full else ""}. '
                f'{"Make room" if full else "Mend that"} and --resume.'
                f'{hint_of_good(filepath)}',
                str(filepath),
            ) from error


def _space(path: str | Path) -> str:
    try:
        free = shutil.disk_usage(Path(path).parent).free
    except OSError:
        return ''
    return f' ({free / 1e6:.1f} MB are free)'


register_backend(ATOMIC, AtomicBackend, force=True)
