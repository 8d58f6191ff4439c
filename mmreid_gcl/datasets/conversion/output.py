# SPDX-License-Identifier: Apache-2.0
"""The output folder of a converter."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

from ..checksums import SUMS, write_checksums
from ..inspection import read_bytes

#: What was converted from what; beside the checksums.
RECORD = 'conversion.json'


class Output:
    """A folder that gets images, then ``SHA256SUMS``, then ``conversion.json``.

    The record is written last: a folder that has one is complete, and only
    ``overwrite`` lets a conversion replace it. Until then the conversion can be
    repeated over what is there. Files that no conversion wrote are a FileExistsError.
    """

    def __init__(self, folder: str | Path, overwrite: bool = False) -> None:
        self.folder = Path(folder).expanduser()
        self._begun = self.folder / f'.{RECORD}.begun'
        finished = (self.folder / RECORD).is_file()
        if finished and not overwrite:
            raise FileExistsError(
                f'{self.folder}: a finished conversion is here already. Give '
                '--overwrite to replace it, or another folder.'
            )
        if finished or self._begun.is_file():
            self._clear()
        elif self.folder.exists() and any(self.folder.iterdir()):
            raise FileExistsError(
                f'{self.folder}: expected an empty or a new folder; there are files in '
                'it that no conversion wrote.'
            )
        self.folder.mkdir(parents=True, exist_ok=True)
        self._begun.touch()
        self.digests: dict[str, str] = {}

    def _clear(self) -> None:
        """Remove the parts of an earlier conversion, and nothing else."""
        self._begun.touch()
        for name in (RECORD, SUMS):
            (self.folder / name).unlink(missing_ok=True)
        for part in ('bounding_box_train', 'query', 'bounding_box_test'):
            for folder in self.folder.glob(f'**/{part}'):
                if folder.is_dir() and not folder.is_symlink():
                    shutil.rmtree(folder)

    def place(self, name: str, source: Path, mode: str) -> None:
        """Copy or link one image; ``mode`` is 'copy', 'hardlink' or 'symlink'."""
        self.write(name, read_bytes(source), source, mode)

    def write(
        self, name: str, data: bytes, source: Path = Path(), mode: str = 'copy'
    ) -> None:
        """Write one image, or link to ``source`` that holds it, as ``name``."""
        if name in self.digests:
            raise ValueError(
                f'{name}: two images of the source would get this name; the source '
                'is not what this converter expects.'
            )
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if mode == 'copy':
            path.write_bytes(data)
        elif mode == 'hardlink':
            path.hardlink_to(source.resolve())
        else:
            path.symlink_to(source.resolve())
        self.digests[name] = hashlib.sha256(data, usedforsecurity=False).hexdigest()

    def finish(self, **record) -> None:
        """Write checksums and the record: sources with their checksums, counts."""
        write_checksums(self.folder / SUMS, self.digests)
        text = json.dumps(record, indent=1, ensure_ascii=False) + '\n'
        (self.folder / RECORD).write_text(text, encoding='utf-8')
        self._begun.unlink()
