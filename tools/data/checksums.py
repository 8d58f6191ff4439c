# SPDX-License-Identifier: Apache-2.0
"""Write and check the checksums of a data set.

``python tools/data/checksums.py write data/market1501`` once, and
``python tools/data/checksums.py check data/market1501`` after every copy.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from mmreid_gcl.cli.command_line import add_json_option, show_result, tool
from mmreid_gcl.datasets.checksums import (
    SUMS,
    compare_checksums,
    digest_files,
    list_files,
    write_checksums,
)
from mmreid_gcl.datasets.image_folder import require_folder
from mmreid_gcl.parallel import num_threads

#: How many names of each kind are shown.
SHOWN = 10


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description='Write the checksums of all files of a folder, or compare a folder '
        'with them. A list of md5sum, sha1sum or sha256sum from elsewhere is read too. '
        'Exit code 0: all is as listed; 1: files are missing or changed; 2: the work '
        'could not be done.'
    )
    parser.add_argument('action', choices=['write', 'check'])
    parser.add_argument('folder', help='folder of the data set')
    parser.add_argument('--sums', help=f'file of checksums; default: FOLDER/{SUMS}')
    parser.add_argument('--workers', type=int, default=num_threads(), help='threads')
    add_json_option(parser)
    return parser.parse_args(argv)


@tool
def main(argv: Sequence[str] | None = None) -> int:
    """Write or check."""
    args = parse_args(argv)
    require_folder(args.folder, 'a data set')
    sums = Path(args.sums) if args.sums else Path(args.folder) / SUMS
    if args.action == 'check':
        return check(args, sums)
    names = list_files(args.folder, [sums])
    if not names:
        raise ValueError(f'{args.folder}: there is no file in this folder.')
    digests = dict(digest_files(args.folder, names, workers=args.workers))
    unreadable = [name for name, digest in digests.items() if digest is None]
    if unreadable:
        show('cannot be read', unreadable)
        show_result(args, dict(file=None, unreadable=unreadable))
        return 1
    write_checksums(sums, digests)
    print(f'{sums}: checksums of {len(digests):,} files')
    show_result(args, dict(file=sums, files=len(digests), unreadable=[]))
    return 0


def check(args: argparse.Namespace, sums: Path) -> int:
    """Compare and print."""
    found = compare_checksums(args.folder, sums, args.workers)
    show('missing or unreadable', found.missing)
    show('changed', found.changed)
    show('not listed (left out)', found.unlisted)
    print(f'{found.same:,} files are as listed in {sums}.')
    show_result(args, dict(asdict(found), file=sums))
    return 0 if found else 1


def show(title: str, names: Sequence[str]) -> None:
    """A few names."""
    if names:
        print(f'{title}: {len(names):,}')
    for name in names[:SHOWN]:
        print('    ' + name.encode('utf-8', 'backslashreplace').decode())
    if len(names) > SHOWN:
        print('    …')


if __name__ == '__main__':
    sys.exit(main())
