# SPDX-License-Identifier: Apache-2.0
"""Checksums of a folder, in the format of the program ``sha256sum``."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from tqdm import tqdm

#: Name of the file of checksums in a folder.
SUMS = 'SHA256SUMS'
#: Algorithm by the number of its hexadecimal digits.
ALGORITHMS = {32: 'md5', 40: 'sha1', 64: 'sha256'}
_LINE = re.compile(r'(\\?)([0-9a-fA-F]{32,64})(?: [ *]|\t)(.+)')
_CHUNK = 1 << 20


@dataclass
class Comparison:
    """What became of the files of a list of checksums.

    Attributes:
        same (int): How many are as listed.
        changed (list[str]): Their content is another one.
        missing (list[str]): They cannot be read, or are not there.
        unlisted (list[str]): They are there and not listed.
    """

    same: int = 0
    changed: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    unlisted: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        """Whether every listed file is as it should be."""
        return not (self.changed or self.missing)


def file_digest(path: str | Path, algorithm: str = 'sha256') -> str:
    """Checksum of one file.

    Args:
        path (str | Path): The file.
        algorithm (str): A name of ``hashlib``. Defaults to 'sha256'.

    Returns:
        str: Hexadecimal digits.

    Raises:
        OSError: If it cannot be read.
    """
    # the checksum is for finding damage, not for keeping out attackers
    digest = hashlib.new(algorithm, usedforsecurity=False)
    with open(path, 'rb') as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def digest_files(
    folder: str | Path,
    names: Sequence[str],
    algorithm: str = 'sha256',
    workers: int = 8,
    progress: bool = True,
) -> Iterator[tuple[str, str | None]]:
    """Checksums of many files, in threads, with a bar.

    Args:
        folder (str | Path): What the names are relative to.
        names (Sequence[str]): Paths.
        algorithm (str): A name of ``hashlib``. Defaults to 'sha256'.
        workers (int): Threads. Defaults to 8.
        progress (bool): Whether to show the bar. Defaults to True.

    Yields:
        tuple[str, str | None]: Name and checksum, in the order of the names;
        None for what cannot be read.
    """
    folder = Path(folder)

    def digest(name: str) -> str | None:
        try:
            return file_digest(folder / name, algorithm)
        except OSError:
            return None

    with (
        ThreadPoolExecutor(max(1, workers)) as pool,
        tqdm(
            total=len(names),
            desc=algorithm,
            unit=' files',
            disable=not progress,
            mininterval=1,
        ) as bar,
    ):
        for begin in range(0, len(names), 4096):  # so that few results wait
            chunk = names[begin : begin + 4096]
            for name, found in zip(chunk, pool.map(digest, chunk)):
                yield name, found
                bar.update()


def list_files(folder: str | Path, skip: Sequence[Path] = ()) -> list[str]:
    """All files of a folder tree, hidden ones and links left out.

    Args:
        folder (str | Path): The folder.
        skip (Sequence[Path]): Files to leave out. Defaults to ().

    Returns:
        list[str]: Paths relative to it with '/', sorted.
    """
    folder = Path(folder)
    skip = [path.resolve() for path in skip]
    found = [
        path.relative_to(folder).as_posix()
        for path in folder.rglob('*')
        if path.is_file() and path.resolve() not in skip
    ]
    return sorted(
        name for name in found if not any(p.startswith('.') for p in name.split('/'))
    )


def write_checksums(path: str | Path, digests: Mapping[str, str]) -> None:
    """Write a file that ``sha256sum -c`` reads.

    Args:
        path (str | Path): The file.
        digests (Mapping[str, str]): Checksum of each name.
    """
    lines = []
    for name, digest in digests.items():
        escaped = name.replace('\\', '\\\\').replace('\n', '\\n')
        lines.append(f'{"" if escaped == name else chr(92)}{digest}  {escaped}\n')
    Path(path).write_bytes(''.join(lines).encode('utf-8', 'surrogateescape'))


def read_checksums(path: str | Path) -> dict[str, str]:
    """Read a file of ``sha256sum``, ``sha1sum`` or ``md5sum``.

    Args:
        path (str | Path): The file.

    Returns:
        dict[str, str]: Checksum of each name, in lower case.

    Raises:
        FileNotFoundError: If it is missing.
        ValueError: If a line cannot be parsed, a name stands there twice, the
            checksums are not of one kind, or there is none.
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
    """Read all listed files and compare.

    Args:
        folder (str | Path): What the listed names are relative to.
        sums (str | Path): The file of checksums.
        workers (int): Threads. Defaults to 8.
        progress (bool): Whether to show a bar. Defaults to True.

    Returns:
        Comparison: What differs.

    Raises:
        FileNotFoundError: If the file of checksums is missing.
        ValueError: If it cannot be read.
    """
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
