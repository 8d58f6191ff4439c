# SPDX-License-Identifier: Apache-2.0
"""The output folder of a converter."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..checksums import SUMS, write_checksums
from ..image_folder import log
from ..inspection import read_bytes

#: What was converted from what; beside the checksums.
RECORD = 'conversion.json'
#: Folders that a benchmark's conversion fills.
PARTS = ('**/bounding_box_train', '**/query', '**/bounding_box_test')


def finished_record(folder: str | Path) -> dict[str, Any]:
    """What a finished conversion wrote of itself; empty if there is none."""
    try:
        found = json.loads((Path(folder).expanduser() / RECORD).read_text('utf-8'))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


class Output:
    """A folder that gets images, then ``SHA256SUMS``, then ``conversion.json``.

    The record is written last: a folder that has one is complete, and only
    ``overwrite`` lets a conversion replace it. Until then the conversion can be
    repeated over what is there: it starts anew, or goes on where all its ``settings``
    are those of the broken one. Files that no conversion wrote are a FileExistsError.
    ``parts`` are the patterns of the folders that it fills.
    """

    def __init__(
        self,
        folder: str | Path,
        overwrite: bool = False,
        parts: Sequence[str] = PARTS,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        self.folder = Path(folder).expanduser()
        self._parts = parts
        self._begun = self.folder / f'.{RECORD}.begun'
        finished = (self.folder / RECORD).is_file()
        if finished and not overwrite:
            raise FileExistsError(
                f'{self.folder}: a finished conversion is here already. Give '
                '--overwrite to replace it, or another folder.'
            )
        text = '' if settings is None else json.dumps(dict(settings))
        if finished or self._begun.is_file():
            goes_on = not finished and text and self._begun.read_text('utf-8') == text
            what = 'goes on with' if goes_on else 'replaces'
            log(f'{self.folder}: {what} an earlier conversion')
            if not goes_on:
                self._clear()
        elif self.folder.exists() and any(self.folder.iterdir()):
            raise FileExistsError(
                f'{self.folder}: expected an empty or a new folder; there are files in '
                'it that no conversion wrote.'
            )
        self.folder.mkdir(parents=True, exist_ok=True)
        self._begun.write_text(text, encoding='utf-8')
        self.digests: dict[str, str] = {}

    def _clear(self) -> None:
        """Remove the parts of an earlier conversion, and nothing else."""
        self._begun.touch()
        for name in (RECORD, SUMS):
            (self.folder / name).unlink(missing_ok=True)
        for part in self._parts:
            for folder in self.folder.glob(part):
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
            partial = path.with_name(f'.{path.name}.partial')
            partial.write_bytes(data)
            os.replace(partial, path)
        elif mode == 'hardlink':
            path.hardlink_to(source.resolve())
        else:
            path.symlink_to(source.resolve())
        self.digests[name] = hashlib.sha256(data, usedforsecurity=False).hexdigest()

    def has(self, name: str) -> bool:
        """Whether a broken conversion wrote this image; it then counts as written."""
        if (self.folder / name).is_file():
            data = read_bytes(self.folder / name)
            self.digests[name] = hashlib.sha256(data, usedforsecurity=False).hexdigest()
        return name in self.digests

    def finish(self, **record) -> None:
        """Write checksums and the record: sources with their checksums, counts."""
        write_checksums(self.folder / SUMS, self.digests)
        text = json.dumps(record, indent=1, ensure_ascii=False) + '\n'
        (self.folder / RECORD).write_text(text, encoding='utf-8')
        self._begun.unlink()
