# SPDX-License-Identifier: Apache-2.0
"""Render a synthetic data set of people in Market-1501's layout.

Example: ``python tools/data/make_synthetic.py data/synthetic --preview sheet.png``
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from mmreid_gcl.apis.images import read_image
from mmreid_gcl.cli.command_line import add_json_option, show_result, tool
from mmreid_gcl.datasets.synthetic import (
    WORLDS,
    Difficulty,
    Layout,
    write_synthetic,
)
from mmreid_gcl.visualization import save_figure
from mmreid_gcl.visualization.canvas import check_figure_path
from mmreid_gcl.visualization.sheet import Cell, thumbnail_rows


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    size, hard = Layout(), Difficulty()
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument('out', type=Path, help='folder to make')
    parser.add_argument('--num-train-ids', type=int, default=size.num_train_ids)
    parser.add_argument('--num-test-ids', type=int, default=size.num_test_ids)
    parser.add_argument('--num-cameras', type=int, default=size.num_cameras)
    parser.add_argument(
        '--visit-rate',
        type=float,
        default=size.visit_rate,
        help='share of the cameras that a person passes',
    )
    parser.add_argument(
        '--tracklets-per-camera', type=int, default=size.tracklets_per_camera
    )
    parser.add_argument('--tracklet-length', type=int, default=size.tracklet_length)
    parser.add_argument(
        '--distractors',
        type=float,
        default=size.distractors,
        help='tracklets with pid 0 in the gallery, relative to the others',
    )
    parser.add_argument(
        '--junk', type=float, default=size.junk, help='likewise with pid -1'
    )
    parser.add_argument(
        '--num-images',
        type=int,
        default=None,
        help='about this many images in all; overrides the numbers of '
        'identities, keeps their proportion',
    )
    parser.add_argument('--height', type=int, default=128)
    parser.add_argument('--width', type=int, default=64)
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument(
        '--world',
        choices=sorted(WORLDS),
        default='first',
        help='the second has other cameras, light, occlusion and clothes',
    )
    parser.add_argument(
        '--difficulty',
        type=float,
        default=1.0,
        help='multiplies all nuisances of the cameras; 0 takes them away',
    )
    parser.add_argument(
        '--nuisance',
        nargs='+',
        default=[],
        metavar='NAME=VALUE',
        help='set single nuisances, after --difficulty: '
        + ', '.join(f'{f.name}={getattr(hard, f.name)}' for f in fields(hard)),
    )
    parser.add_argument(
        '--workers', type=int, default=None, help='processes; one a core if not given'
    )
    parser.add_argument(
        '--overwrite',
        action='store_true',
        help='replace a synthetic set made with other arguments',
    )
    parser.add_argument('--preview', type=Path, help='write a contact sheet here')
    add_json_option(parser)
    return parser.parse_args(argv)


def difficulty_of(
    factor: float, settings: list[str], world: str = 'first'
) -> Difficulty:
    """Difficulty from ``--difficulty`` and ``--nuisance``.

    Args:
        factor (float): Multiplies all nuisances.
        settings (list[str]): ``name=value``.
        world (str): Whose nuisances. Defaults to the first.

    Returns:
        Difficulty: What they make together.

    Raises:
        ValueError: If a setting has no such name or is no number.
    """
    known = [field.name for field in fields(Difficulty)]
    values = {}
    for setting in settings:
        name, sign, value = setting.partition('=')
        if name not in known or not sign:
            raise ValueError(
                f'--nuisance {setting}: expected NAME=VALUE with NAME one of '
                f'{", ".join(known)}.'
            )
        try:
            values[name] = float(value)
        except ValueError:
            raise ValueError(f'--nuisance {setting}: {value!r} is no number.') from None
    if factor < 0:
        raise ValueError(f'--difficulty must not be negative, got {factor}.')
    return replace(WORLDS[world].scaled(factor), **values)


def contact_sheet(
    root: Path, identities: int = 10, per_camera: int = 2, seed: int = 0
) -> Figure:
    """Several people of the training set as all cameras see them.

    Args:
        root (Path): A data set in Market-1501's layout.
        identities (int): Rows. Defaults to 10.
        per_camera (int): Images of a person and camera. Defaults to 2.
        seed (int): Which people. Defaults to 0.

    Returns:
        Figure: A row a person, a column a camera.

    Raises:
        FileNotFoundError: If there is no training image.
    """
    folder = root / 'bounding_box_train'
    shots: dict = defaultdict(lambda: defaultdict(list))
    for path in sorted(folder.glob('[0-9]*_c*s*.jpg')):
        pid, place = path.name.split('_')[:2]
        shots[pid][int(place[1:].partition('s')[0])].append(path)
    if not shots:
        raise FileNotFoundError(f'There are no training images in {folder}.')
    cameras = sorted({camera for seen in shots.values() for camera in seen})
    people = random.Random(seed).sample(sorted(shots), min(identities, len(shots)))
    nothing = np.full((2, 1, 3), 255, np.uint8)
    rows = []
    for person in people:
        row = []
        for camera in cameras:
            paths = shots[person][camera]
            chosen = paths[:: max(1, len(paths) // per_camera)][:per_camera]
            images = [read_image(path)[..., ::-1] for path in chosen]
            row.append(Cell(np.hstack(images) if images else nothing))
        rows.append(row)
    heads = [f'camera {camera}' for camera in cameras]
    words = [f'person {person}' for person in people]
    return thumbnail_rows(rows, 1.28, heads=heads, words=words)


@tool
def main(argv: Sequence[str] | None = None) -> int:
    """Render and say what there is."""
    args = parse_args(argv)
    begin = time.perf_counter()
    if args.preview is not None:
        check_figure_path(args.preview)
    layout = Layout(
        num_train_ids=args.num_train_ids,
        num_test_ids=args.num_test_ids,
        num_cameras=args.num_cameras,
        visit_rate=args.visit_rate,
        tracklets_per_camera=args.tracklets_per_camera,
        tracklet_length=args.tracklet_length,
        distractors=args.distractors,
        junk=args.junk,
    )
    if args.num_images is not None:
        layout = layout.with_num_images(args.num_images)
    manifest = write_synthetic(
        args.out,
        layout,
        difficulty_of(args.difficulty, args.nuisance, args.world),
        seed=args.seed,
        height=args.height,
        width=args.width,
        workers=args.workers,
        overwrite=args.overwrite,
        world=args.world,
    )
    counts = manifest['counts']
    if manifest['rendered']:
        seconds = time.perf_counter() - begin
        total = sum(counts['images'].values())
        print(f'{total} images in {seconds:.1f} s ({total / seconds:.0f} images/s).')
    else:
        print(f'{args.out}: this data set is there already; nothing to do.')
    for folder, number in counts['images'].items():
        people = counts['identities'][folder]
        print(f'  {folder}: {number} images, {people} identities')
    if args.preview is not None:
        save_figure(contact_sheet(args.out), args.preview, dpi=100)
        print(f'  contact sheet: {args.preview}')
    show_result(args, dict(folder=args.out, **manifest))
    return 0


if __name__ == '__main__':
    sys.exit(main())
