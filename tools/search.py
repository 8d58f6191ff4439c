# SPDX-License-Identifier: Apache-2.0
"""Find people again in a folder of crops.

``python tools/search.py CONFIG crops/ query.jpg --checkpoint epoch_60.pth``
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from mmreid_gcl.apis.folder import list_folder
from mmreid_gcl.apis.gallery_files import is_empty
from mmreid_gcl.apis.gallery_index import (
    NOBODY,
    GalleryIndex,
    Match,
    is_gallery,
    require_cameras,
)
from mmreid_gcl.apis.images import ImageError, Thumbnails
from mmreid_gcl.apis.inputs import list_inputs
from mmreid_gcl.cli.command_line import (
    add_folder_arguments,
    add_json_option,
    add_model_arguments,
    build_inferencer,
    check_ending,
    exit_code,
    folder_options,
    say,
    show_result,
    tool,
)
from mmreid_gcl.config.packaged import tool_command
from mmreid_gcl.datasets.image_folder import as_path, printable

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLUMNS = ('query', 'rank', 'score', 'camera', 'path')


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description='Find people again in a folder of crops, or in a saved index. Exit '
        'code 2: nothing was done; 3: done, but some crops could not be read.'
    )
    add_model_arguments(parser)
    parser.add_argument('gallery', help='folder of crops, or of a saved index')
    parser.add_argument('query', nargs='+', help='images, or folders of images')
    parser.add_argument('--topk', type=int, default=10, help='default: %(default)s')
    parser.add_argument(
        '--by-track', action='store_true', help='name the best image of a track alone'
    )
    parser.add_argument(
        '--threshold',
        type=float,
        help='similarity from which on somebody is named; default: as calibrated '
        '(calibrate.py), else everybody is; -1 names everybody',
    )
    parser.add_argument('--save-index', help='folder in which to keep the index')
    parser.add_argument(
        '--overwrite', action='store_true', help='replace the index that is there'
    )
    parser.add_argument(
        '--root',
        help='folder of the images of a saved index, if they were moved; default: the '
        'one it names',
    )
    parser.add_argument(
        '--only-camera', action='append', metavar='NAME', help='search this camera'
    )
    parser.add_argument(
        '--exclude-camera', action='append', metavar='NAME', help='do not search it'
    )
    parser.add_argument(
        '--other-cameras',
        action='store_true',
        help="do not search a query's own camera; queries must be crops of the gallery",
    )
    parser.add_argument(
        '--best-per-camera',
        action='store_true',
        help='of each camera the best match alone',
    )
    parser.add_argument('--out', help='result as .csv or .json')
    parser.add_argument('--sheet', help='result as images: .png, .pdf or .svg')
    add_json_option(parser)
    add_folder_arguments(parser)
    args = parser.parse_args(argv)
    check_ending(parser, args, 'out', '.csv', '.json')
    check_ending(parser, args, 'sheet', '.png', '.pdf', '.svg')
    for option in ('out', 'sheet'):
        path = getattr(args, option)
        if path and not Path(path).resolve().parent.is_dir():
            parser.error(f'--{option}: there is no folder {Path(path).parent}')
    if args.overwrite and not args.save_index:
        parser.error('--overwrite is for --save-index')
    if args.threshold is not None and math.isnan(args.threshold):
        parser.error('--threshold must be a number, got nan')
    if args.topk < 1:
        parser.error(f'--topk must be at least 1, got {args.topk}')
    return args


def list_queries(given: Sequence[str]) -> list[str]:
    """The query images, those of folders one by one.

    Args:
        given (Sequence[str]): Paths of images and folders.

    Returns:
        list[str]: Paths.

    Raises:
        FileNotFoundError: If there is nothing under a path, or a folder holds no
            image. Said before the gallery is built, which may take long.
    """
    paths = []
    for query in given:
        if not Path(query).expanduser().exists():
            raise FileNotFoundError(f'{query}: there is no such query image or folder.')
        paths += [path for path, _ in list_inputs(query)[0]]
    return paths


def as_dicts(queries: Sequence[str], found: Sequence[Sequence[Match]]) -> list[dict]:
    """The ranked lists as plain values."""
    return [
        dict(query=query, matches=[asdict(match) for match in matches])
        for query, matches in zip(queries, found)
    ]


def write(path: str, queries: Sequence[str], found: Sequence[Sequence[Match]]) -> None:
    """Write the ranked lists as CSV or JSON.

    A query that found nobody has one line of rank 0, or an empty list.
    """
    if path.endswith('.json'):
        results = as_dicts(queries, found)
        Path(path).write_text(json.dumps(results, indent=1) + '\n')
        return
    with open(path, 'w', newline='', encoding='utf-8', errors='surrogateescape') as f:
        writer = csv.writer(f)
        writer.writerow(COLUMNS)
        for query, matches in zip(queries, found):
            for m in matches:
                writer.writerow([query, m.rank, f'{m.score:.6f}', m.camera, m.path])
            if not matches:
                writer.writerow([query, 0, '', '', NOBODY])


def draw(queries: Sequence[str], found: Sequence[Sequence[Match]]) -> Figure:
    """A sheet of queries and what they found; an ``ImageError`` if one is gone."""
    from mmreid_gcl.visualization import ranking_sheet

    return ranking_sheet(
        Thumbnails(queries),
        [Thumbnails([match.path for match in matches]) for matches in found],
        scores=[[match.score for match in matches] for matches in found],
        gallery_cameras=[[match.camera for match in matches] for matches in found],
        query_titles=[printable(Path(query).name) for query in queries],
        nobody=NOBODY,
    )


def cameras_of(queries: Sequence[str], gallery: GalleryIndex) -> list[str]:
    """Cameras of queries that are crops of the gallery; else a ValueError."""
    rows = {Path(gallery.path_of(i)).resolve(): i for i in range(len(gallery))}
    cameras = []
    for query in queries:
        row = rows.get(Path(query).expanduser().resolve())
        if row is None:
            raise ValueError(
                f'--other-cameras: {query} is no crop of the gallery, so its camera is '
                'not known. Name it with --exclude-camera.'
            )
        cameras.append(gallery.cameras[row])
    return cameras


def check_cameras(args: argparse.Namespace) -> None:
    """Refuse names of cameras that the folder lacks, before it is embedded."""
    asked = [*(args.only_camera or []), *(args.exclude_camera or [])]
    if asked:
        images = list_folder(args.gallery, **folder_options(args))
        require_cameras(asked, images.cameras)


def prepare_index(path: str, overwrite: bool) -> None:
    """Make the folder of an index, before anything is embedded.

    A ``FileExistsError`` if it holds an index that may not be replaced, or other files.
    """
    folder = as_path(path)
    if is_gallery(folder):
        if overwrite:
            return
        raise FileExistsError(
            f'--save-index: {path} holds a gallery, which may have grown, been '
            f'calibrated or shrunk since. {tool_command("gallery")} add adds what is '
            'new; --overwrite replaces it.'
        )
    if folder.exists() and not (folder.is_dir() and is_empty(folder)):
        raise FileExistsError(
            f'--save-index: {path} is no empty folder. Name a new or an empty one.'
        )
    folder.mkdir(parents=True, exist_ok=True)


@tool
def main(argv: Sequence[str] | None = None) -> int:
    """Build or load the gallery, search, print and write."""
    args = parse_args(argv)
    paths = list_queries(args.query)
    if args.save_index:
        prepare_index(args.save_index, args.overwrite)
    inferencer = build_inferencer(args)
    if is_gallery(args.gallery):
        gallery = inferencer.load_gallery(args.gallery, args.root)
        failed = {}
    elif args.root:
        raise ValueError(
            f'--root is for a saved index; {args.gallery} is a folder of crops.'
        )
    else:
        check_cameras(args)
        gallery = inferencer.build_gallery(args.gallery, **folder_options(args))
        failed = dict(gallery.failed)
    if args.save_index:
        prepare_index(args.save_index, args.overwrite)  # somebody may have been faster
        gallery.save(args.save_index)
    queries = inferencer.extract(paths, on_error='skip' if len(paths) > 1 else 'raise')
    failed.update(queries.failed)
    nearest = gallery.search(
        queries.features,
        args.topk,
        args.only_camera,
        args.exclude_camera,
        cameras_of(queries.paths, gallery) if args.other_cameras else None,
        args.best_per_camera,
        by_track=args.by_track,
    )
    if args.threshold is None and gallery.calibration_warning:
        print(gallery.calibration_warning, file=sys.stderr)
    threshold = gallery.threshold_or(args.threshold)
    found = gallery.above_threshold(nearest, threshold)
    if args.sheet:  # before anything is written: images may be gone
        try:
            sheet = draw(queries.paths, found)
        except ImageError as error:
            raise ValueError(
                f'--sheet: {error} If the crops of a saved index were moved, give '
                'their folder with --root.'
            ) from error
    for query, matches, near in zip(queries.paths, found, nearest):
        say(query)
        for match in matches:
            say(f'  {match.rank:3d}  {match.score:6.3f}  {match.camera}  {match.path}')
        if not matches:
            best = f'the best has {near[0].score:.3f}' if near else 'it is empty'
            say(f'  {NOBODY}: {best}, the threshold is {threshold:.3f}')
    if args.out:
        write(args.out, queries.paths, found)
    if args.sheet:
        from mmreid_gcl.visualization import save_figure

        save_figure(sheet, args.sheet)
    show_result(args, dict(results=as_dicts(queries.paths, found), failed=failed))
    return exit_code(failed)


if __name__ == '__main__':
    sys.exit(main())
