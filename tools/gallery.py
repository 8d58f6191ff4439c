# SPDX-License-Identifier: Apache-2.0
"""Look at a saved gallery, grow and shrink it, give it to other programs.

``python tools/gallery.py remove gallery --camera hall --older-than 30``
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import numpy as np

from mmreid_gcl.apis.folder import list_folder
from mmreid_gcl.apis.gallery_files import sole_writer
from mmreid_gcl.apis.gallery_index import GalleryIndex
from mmreid_gcl.apis.images import ImageError
from mmreid_gcl.cli.command_line import (
    add_folder_arguments,
    add_json_option,
    add_model_arguments,
    build_inferencer,
    exit_code,
    folder_options,
    say,
    show_result,
    tool,
)

#: Crops that are embedded between two writes of the index.
PORTION = 20_000
DAY = 24 * 3600


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description='Change a saved gallery. Readers find the old or the new one; a '
        'second writer is refused. Exit code 2: nothing was done, or not all of add; '
        '3: done, but some crops could not be read.'
    )
    commands = parser.add_subparsers(dest='command', required=True)
    show = commands.add_parser('show', help='what is in it')
    add = commands.add_parser(
        'add',
        help='embed the crops of a folder that it does not have yet',
        description=f'Embed the crops that the gallery lacks, and save it every '
        f'{PORTION:,} crops: the same command goes on after an interruption. Give the '
        'folder that the gallery was built from, or one with further cameras. What '
        'remove has forgotten is added again unless its file is gone; a file that '
        'changed under its name is not.',
    )
    add_model_arguments(add)
    remove = commands.add_parser(
        'remove', help='forget the crops for which all that is given holds'
    )
    merge = commands.add_parser('merge', help='take in other galleries of its model')
    export = commands.add_parser('export', help='write it for other programs')
    for command in (show, add, remove, merge, export):
        command.add_argument('gallery', help='folder of the saved index')
    add.add_argument('crops', help='folder of crops')
    add.add_argument('--root', help='where the crops of the gallery were moved to')
    add_folder_arguments(add)
    for option, kind in (('id', int), ('path', str), ('camera', str), ('track', int)):
        remove.add_argument(
            f'--{option}', type=kind, action='append', help='may be given several times'
        )
    when = 'date and time such as 2026-01-31T12:00 (local), or seconds since 1970'
    remove.add_argument('--before', type=moment, help=f'taken before: {when}')
    remove.add_argument('--after', type=moment, help='taken then or later')
    remove.add_argument(
        '--older-than', type=float, metavar='DAYS', help='taken so many days ago'
    )
    merge.add_argument('others', nargs='+', help='folders of saved indices')
    export.add_argument('--parquet', help='file to write; needs pyarrow')
    export.add_argument(
        '--qdrant',
        metavar='WHERE',
        help="address of a server ('http://…'), or a folder; needs qdrant-client",
    )
    export.add_argument('--collection', default='gallery', help='of Qdrant')
    for command in (show, add, remove, merge, export):
        add_json_option(command)
    args = parser.parse_args(argv)
    if args.command == 'export' and not (args.parquet or args.qdrant):
        export.error('say where to: --parquet FILE or --qdrant WHERE')
    if args.command == 'remove' and args.older_than is not None:
        if args.before is not None:
            remove.error('give --before or --older-than, not both')
        if not args.older_than >= 0:
            remove.error(f'--older-than must be 0 or more, got {args.older_than}')
        args.before = time.time() - args.older_than * DAY
    return args


def moment(text: str) -> float:
    """Seconds since 1970 of what was typed."""
    try:
        seconds = datetime.fromisoformat(text).timestamp()
    except ValueError:
        seconds = float(text)
    if not 1e8 <= seconds < 1e11:
        raise ValueError(f'{text} is no date, nor seconds since 1970')
    return seconds


def readable(seconds: float) -> str:
    """A local date and time."""
    try:
        return datetime.fromtimestamp(seconds).isoformat(' ', 'seconds')
    except (ValueError, OverflowError, OSError):
        return f'{seconds:g} s after 1970'


def show(args: argparse.Namespace) -> int:
    """Print what is in a gallery."""
    gallery = GalleryIndex.load(args.gallery)
    tracks = gallery.tracks >= 0
    found = dict(
        images=len(gallery),
        width=gallery.dim,
        root=str(gallery.root),
        model_hash=gallery.model_hash,
        cameras=dict(sorted(Counter(gallery.cameras).items())),
        tracks=len({*zip(np.array(gallery.cameras)[tracks], gallery.tracks[tracks])}),
        first=gallery.times.min() if len(gallery) else None,
        last=gallery.times.max() if len(gallery) else None,
        calibration=gallery.calibration and gallery.calibration.to_dict(),
        warning=gallery.calibration_warning or None,
    )
    say(f'{len(gallery):,} crops x {gallery.dim}, below {gallery.root}')
    for camera, crops in found['cameras'].items():
        say(f'  {camera}: {crops:,}')
    if found['tracks']:
        print(f'{found["tracks"]:,} tracks, of {tracks.sum():,} crops')
    if len(gallery):
        ends = readable(found['first']), readable(found['last'])
        print(f'taken, or added, from {ends[0]} to {ends[1]}')
    known = gallery.calibration
    if known:
        print(
            f'threshold {known.threshold:.3f}, for {100 * known.rate:g} % false matches'
            f' (over: {known.over})'
        )
    else:
        print('no threshold (tools/calibrate.py)')
    if gallery.calibration_warning:
        print(gallery.calibration_warning)
    show_result(args, found)
    return 0


def add(args: argparse.Namespace) -> int:
    """Embed and add what is new."""
    inferencer = build_inferencer(args)
    folder = Path(args.gallery)
    failed: dict[str, str] = {}
    with sole_writer(folder):
        gallery = GalleryIndex.load(folder, inferencer.model_hash, args.root)
        before = len(gallery)
        images = list_folder(args.crops, **folder_options(args))
        new = gallery.absent(images)
        print(f'{len(new):,} crops are new to the gallery of {before:,}.', flush=True)
        if before and len(new) == len(images):
            print(
                f'None of its own is in {args.crops}. If they were moved there, give '
                'their folder with --root, else they are in the gallery twice.',
                file=sys.stderr,
            )
        for start in range(0, len(new), PORTION):
            part = new.select(range(start, min(start + PORTION, len(new))))
            try:
                more = inferencer.embed_folder(part)
            except ImageError as error:  # not one of them can be read
                failed |= dict.fromkeys(part.files(), str(error))
                continue
            failed |= more.failed
            gallery.merge(more, same_tracks=True)
            gallery.write(folder)
    return say_change(args, gallery, added=len(gallery) - before, failed=failed)


def remove(args: argparse.Namespace) -> int:
    """Remove crops from the index; their files stay."""
    with GalleryIndex.edit(args.gallery) as gallery:
        removed = gallery.remove(
            args.id, args.path, args.camera, args.track, args.before, args.after
        )
    return say_change(args, gallery, removed=removed)


def merge(args: argparse.Namespace) -> int:
    """Take in other galleries, which stay as they are."""
    others = [GalleryIndex.load(path) for path in args.others]
    with GalleryIndex.edit(args.gallery) as gallery:
        for other in others:
            gallery.merge(other)
    return say_change(args, gallery, added=sum(map(len, others)))


def say_change(
    args: argparse.Namespace,
    gallery: GalleryIndex,
    failed: dict[str, str] | None = None,
    **counts: int,
) -> int:
    """Print what was added or removed; the exit code."""
    (word, number), *_ = counts.items()
    print(f'{number:,} crops {word}, {len(gallery):,} are in {args.gallery}.')
    if gallery.calibration_warning:
        print(gallery.calibration_warning, file=sys.stderr)
    failed = failed or {}
    show_result(args, dict(**counts, images=len(gallery), failed=failed))
    return exit_code(failed)


def export(args: argparse.Namespace) -> int:
    """Write a gallery for other programs."""
    from mmreid_gcl.apis import QdrantGallery, write_parquet

    gallery = GalleryIndex.load(args.gallery)
    if args.parquet:
        print(f'{len(gallery):,} crops: {write_parquet(gallery, args.parquet)}')
    if args.qdrant:
        database = QdrantGallery(args.qdrant, args.collection, gallery.model_hash)
        database.export(gallery)
        print(f'{len(database):,} crops: {args.qdrant}, collection {args.collection}')
    show_result(
        args,
        dict(images=len(gallery), parquet=args.parquet, qdrant=args.qdrant),
    )
    return 0


@tool
def main(argv: Sequence[str] | None = None) -> int:
    """Do what the command line says."""
    args = parse_args(argv)
    commands = dict(show=show, add=add, remove=remove, merge=merge, export=export)
    return commands[args.command](args)


if __name__ == '__main__':
    sys.exit(main())
