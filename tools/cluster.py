# SPDX-License-Identifier: Apache-2.0
"""Who is who in a folder of crops: pseudo-labels without training.

``python tools/cluster.py CONFIG crops/ --checkpoint epoch_60.pth --out clusters``
"""

from __future__ import annotations

import argparse
import copy
import csv
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from mmengine.config import Config

from mmreid_gcl.apis.folder import FolderImages, list_folder
from mmreid_gcl.apis.images import Thumbnails
from mmreid_gcl.cli.command_line import (
    add_folder_arguments,
    add_json_option,
    add_model_arguments,
    build_inferencer,
    exit_code,
    folder_options,
    show_result,
    tool,
)
from mmreid_gcl.config_parts import clusters_mirrored, find_pseudo_label_hook
from mmreid_gcl.datasets.image_folder import printable
from mmreid_gcl.labels import who_was_where

if TYPE_CHECKING:
    from mmreid_gcl.clustering import Labeller

PER_SHEET = 12


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description='Cluster a folder of crops as training does at the start of an '
        'epoch. Writes clusters.csv (path, label, camera; label -1 is in no cluster), '
        'where.csv (for each cluster and camera how many crops, the first and the '
        'last) and contact sheets, large clusters first. Exit code 2: nothing was '
        'done; 3: done, but some crops could not be read.'
    )
    add_model_arguments(parser)
    parser.add_argument('folder', help='folder of crops')
    parser.add_argument('--out', default='clusters', help='folder to write to')
    parser.add_argument('--eps', type=float, help='radius; default: of the config')
    parser.add_argument('--min-samples', type=int, help='default: of the config')
    parser.add_argument('--k1', type=int, help='neighbours; default: of the config')
    parser.add_argument('--k2', type=int, help='default: of the config')
    parser.add_argument(
        '--no-refine', action='store_true', help='cluster embeddings without GCL'
    )
    parser.add_argument(
        '--sheets', type=int, default=10, help='contact sheets at most; 0 for none'
    )
    add_json_option(parser)
    add_folder_arguments(parser)
    return parser.parse_args(argv)


def build_labeller(args: argparse.Namespace, config: Config | None) -> Labeller:
    """The labeller of the config, with what the options change.

    Args:
        args (argparse.Namespace): The command line.
        config (Config, optional): Of the model. Without a PseudoLabelHook in it,
            embeddings are clustered by DBSCAN.

    Returns:
        Labeller: Built before the images are embedded, so that a wrong setting
        costs nothing.

    Raises:
        ValueError: If a setting is unknown or out of its range.
    """
    from mmreid_gcl.clustering import labeller_of

    hook = dict(find_pseudo_label_hook(config))
    hook['clusterer'] = copy.deepcopy(
        hook.get('clusterer') or dict(type='DBSCANClusterer')
    )
    inner = hook['clusterer']
    while isinstance(inner.get('clusterer'), Mapping):  # of tracks: that of their means
        inner = inner['clusterer']
    for name in ('eps', 'min_samples', 'k1', 'k2'):
        if getattr(args, name) is not None:
            inner[name] = getattr(args, name)
    return labeller_of(hook)


def write_sheets(
    out: Path, labels: np.ndarray, images: FolderImages, sheets: int
) -> list[Path]:
    """Contact sheets of twelve clusters each, large clusters first.

    Args:
        out (Path): Folder.
        labels (np.ndarray): (N,).
        images (FolderImages): N images.
        sheets (int): How many at most.

    Returns:
        list[Path]: What was written.
    """
    from mmreid_gcl.visualization import cluster_sheet, describe_clusters, save_figure

    count = len(describe_clusters(labels))
    written = []
    for begin in range(0, min(count, sheets * PER_SHEET), PER_SHEET):
        figure = cluster_sheet(
            Thumbnails(images.files()),
            labels,
            camids=np.array(images.cameras),
            num_clusters=PER_SHEET,
            first=begin,
            title=f'Clusters of {printable(images.root.name)}',
        )
        number = begin // PER_SHEET + 1
        written.append(save_figure(figure, out / f'sheet_{number:03d}.png', dpi=100))
    return written


def write_where(
    path: Path, labels: np.ndarray, images: FolderImages, shown: int = 10
) -> None:
    """Write who was where: a line for each cluster and camera, with its crops.

    The first lines, of ``shown`` clusters, are printed. First and last are by sequence
    and frame as the folder gives them.
    """
    order = np.lexsort((images.columns['frame'], images.columns['sequence']))
    parts = who_was_where(labels.tolist(), images.cameras, order.tolist())
    lines: dict[int, list[str]] = {}
    with open(path, 'w', newline='', encoding='utf-8', errors='surrogateescape') as f:
        writer = csv.writer(f)
        writer.writerow(['label', 'camera', 'images', 'first', 'last'])
        for label, camera, rows in parts:
            first, last = (images.paths[rows[i]] for i in (0, -1))
            writer.writerow([label, camera, len(rows), first, last])
            ends = ' to '.join(Path(name).name for name in (first, last))
            lines.setdefault(label, []).append(f'{camera} {len(rows)} ({ends})')
    print(f'{path}: who was where')
    for label in list(lines)[:shown]:
        print(printable(f'  cluster {label}: {", ".join(lines[label])}'))
    if len(lines) > shown:
        print(f'  … and {len(lines) - shown:,} more')


@tool
def main(argv: Sequence[str] | None = None) -> int:
    """Embed, cluster, write."""
    from mmreid_gcl.clustering import collapse

    args = parse_args(argv)
    out = Path(args.out)
    if out.exists() and not out.is_dir():
        raise NotADirectoryError(f'--out {out}: this is a file; expected a folder.')
    out.mkdir(parents=True, exist_ok=True)
    inferencer = build_inferencer(args)
    labeller = build_labeller(args, inferencer.config)
    if clusters_mirrored(inferencer.config):
        inferencer.model.flip_test = True
    neck = getattr(inferencer.model, 'relation_neck', None)
    if args.no_refine or labeller.graphs is None or not labeller.refine:
        neck = None
    images = list_folder(args.folder, **folder_options(args))
    found = inferencer.extract(images.files())
    kept = images.select(found.rows)
    labels = np.empty(len(kept), np.int64)
    order = np.argsort(kept.place)  # that of training, which graphs may depend on
    features = torch.from_numpy(found.features[order])
    records = kept.select(order).records()
    labels[order] = labeller(features, records, neck, inferencer.epoch).labels
    table = out / 'clusters.csv'
    with open(
        table, 'w', newline='', encoding='utf-8', errors='surrogateescape'
    ) as file:
        writer = csv.writer(file)
        writer.writerow(['path', 'label', 'camera'])
        writer.writerows(zip(kept.paths, labels.tolist(), kept.cameras))
    problem = collapse(labels, labeller.clusterer)
    if problem is not None:
        print(f'warning: {problem}', file=sys.stderr)
    number = len(np.unique(labels[labels >= 0]))
    outliers = int((labels < 0).sum())
    print(
        f'{table}: {len(labels):,} images, {number:,} clusters, {outliers:,} in none '
        '(label -1)'
    )
    write_where(out / 'where.csv', labels, kept)
    sheets: list[Path] = []
    if number and args.sheets > 0:
        sheets = write_sheets(out, labels, kept, args.sheets)
        print(f'{len(sheets)} contact sheets: {sheets[0]} …')
    show_result(
        args,
        dict(
            images=len(labels),
            clusters=number,
            outliers=outliers,
            file=table,
            sheets=sheets,
            labels=[
                dict(path=path, label=label, camera=camera)
                for path, label, camera in zip(
                    kept.paths, labels.tolist(), kept.cameras
                )
            ],
            failed=found.failed,
        ),
    )
    return exit_code(found.failed)


if __name__ == '__main__':
    sys.exit(main())
