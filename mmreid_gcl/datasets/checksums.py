# SPDX-License-Identifier: Apache-2.0
"""Checksums of a folder, in the format of the program ``sha256sum``."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mmreid_gcl.parallel import map_with_bar

#: Name of the file of checksums in a folder.
SUMS = 'SHA256SUMS'
#: Algorithm by the number of its hexadecimal digits.
ALGORITHMS = {32: 'md5', 40: 'sha1', 64: 'sha256'}
_LINE = re.compile(r'(\\?)([0-9a-fA-F]{32,64})(?: [ *]|\t)(.+)')


@dataclass
class Comparison:
    """What became of the files of a list of checksums; true if none is damaged."""

    same: int = 0  #: How many are as listed
    changed: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)  #: Or cannot be read
    unlisted: list[str] = field(default_factory=list)  #: Are there and not listed

    def __bool__(self) -> bool:
        return not (self.changed or self.missing)


def file_digest(path: str | Path, algorithm: str = 'sha256') -> str:
    """Checksum of one file, hexadecimal; ``algorithm`` is a name of ``hashlib``."""
    # the checksum is for finding damage, not for keeping out attackers
    digest = hashlib.new(algorithm, usedforsecurity=False)
    with open(path, 'rb') as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def digest_files(
    folder: str | Path,
    names: Sequence[str],
    algorithm: str = 'sha256',
    workers: int = 8,
    progress: bool = True,
) -> Iterator[tuple[str, str | None]]:
    """Name and checksum of many files, in their order, by threads with a bar.

    The names are relative to ``folder``; None is the checksum of what cannot be read.
    """
    folder = Path(folder)

    def digest(name: str) -> str | None:
        try:
            return file_digest(folder / name, algorithm)
        except OSError:
            return None

    style = dict(unit=' files', disable=not progress, desc=algorithm)
    return map_with_bar(digest, names, workers, **style)


def list_files(folder: str | Path, skip: Sequence[Path] = ()) -> list[str]:
    """All files of a folder tree but hidden ones and ``skip``, sorted, with '/'."""
    folder = Path(folder)
    skip = [path.resolve() for path in skip]
    found = [
        path.relative_to(folder).as_posix()
        for path in folder.rglob('*')
        if path.is_file() and path.resolve() not in skip
    ]
    return sorted(name for name in found if '/.' not in f'/{name}')


def write_checksums(path: str | Path, digests: Mapping[str, str]) -> None:
    """Write the checksum of each name as a file that ``sha256sum -c`` reads."""
    lines = []
    for name, digest in digests.items():
        escaped = name.replace('\\', '\\\\').replace('\n', '\\n')
        lines.append(f'{"" if escaped == name else chr(92)}{digest}  {escaped}\n')
    Path(path).write_bytes(''.join(lines).encode('utf-8', 'surrogateescape'))


def read_checksums(path: str | Path) -> dict[str, str]:
    """The checksum of each name in a file of ``sha256sum`` or ``md5sum``.

    A line that cannot be parsed, a name twice or checksums of two kinds is a
    ValueError.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f'{path}: no such file of checksums. Write one with '
            'tools/data/checksums.py write FOLDER.'
        )
    digests: dict[str, str] = {}
    text = path.read_bytes().decode('utf-8', 'surrogateescape')
    for number, line in enumerate(text.split('\n'), 1):
        line = line.rstrip('\r')
        if not line or line.startswith('#'):
            continue
        match = _LINE.fullmatch(line)
        if match is None or len(match[2]) not in ALGORITHMS:
            raise ValueError(
                f'{path}, line {number}: expected a checksum (md5, sha1 or sha256) and '
                f'a name, as sha256sum writes them, found {line[:100]!r}.'
            )
        name = match[3]
        if match[1]:
            name = re.sub(r'\\(.)', lambda m: '\n' if m[1] == 'n' else m[1], name)
        name = name.removeprefix('./')
        if name in digests:
            raise ValueError(f'{path}, line {number}: {name!r} stands there twice.')
        digests[name] = match[2].lower()
    if not digests:
        raise ValueError(f'{path}: this file lists no checksum.')
    if len(set(map(len, digests.values()))) > 1:
        raise ValueError(f'{path}: the checksums are not all of one kind.')
    return digests


def compare_checksums(
    folder: str | Path, sums: str | Path, workers: int = 8, progress: bool = True
) -> Comparison:
    """Read all files that ``sums`` lists, in ``folder``, and compare."""
    listed = read_checksums(sums)
    algorithm = ALGORITHMS[len(next(iter(listed.values())))]
    result = Comparison()
    for name, found in digest_files(folder, list(listed), algorithm, workers, progress):
        if found is None:
            result.missing.append(name)
        elif found != listed[name]:
            result.changed.append(name)
        else:
            result.same += 1
    result.unlisted = [
        name for name in list_files(folder, [Path(sums)]) if name not in listed
    ]
    return result
