# SPDX-License-Identifier: Apache-2.0
"""Retrieval by colour histograms: what a data set gives without learning.

Examples: ``python tools/analysis/histogram_baseline.py data/synthetic``,
``python tools/analysis/histogram_baseline.py configs/gcl_duke.py``
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from mmreid_gcl.apis import load_config
from mmreid_gcl.apis.images import read_image
from mmreid_gcl.cli.command_line import (
    add_config_options,
    add_dataset_options,
    add_json_option,
    show_result,
    tool,
)
from mmreid_gcl.datasets import Market1501, ReIDDataset
from mmreid_gcl.evaluation.histogram import evaluate_histograms, hsv_stripe_histogram
from mmreid_gcl.registry import DATASETS


def histogram_of_file(path: str) -> np.ndarray:
    """Histogram (3072,) of an image on disk.

    Args:
        path (str): The image.

    Returns:
        np.ndarray: See ``hsv_stripe_histogram``.

    Raises:
        ValueError: If the file cannot be read as an image.
    """
    return hsv_stripe_histogram(read_image(path))


def run_baseline(query: ReIDDataset, gallery: ReIDDataset) -> dict:
    """Histograms of both sides, and the scores of the three distances.

    Args:
        query (ReIDDataset): Split 'query'.
        gallery (ReIDDataset): Split 'gallery'.

    Returns:
        dict: See ``evaluate_histograms``.
    """
    sides = []
    with ThreadPoolExecutor() as pool:
        for part in (query, gallery):
            rows = pool.map(histogram_of_file, part.column('img_path'))
            sides += [np.stack(list(rows)), part.column('pid'), part.column('camid')]
    return evaluate_histograms(*sides)


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        'source', help='folder of the data set, or a config (file or name) that tests'
    )
    parser.add_argument(
        '--dataset',
        help="class of a folder's data set; default: Market1501 if the folder has its "
        'sub-folders, else PersonFolder',
    )
    add_dataset_options(parser)
    add_config_options(parser)
    parser.add_argument('--out', type=Path, help='also write the scores here as JSON')
    add_json_option(parser)
    return parser.parse_args(argv)


def dataset_config(args: argparse.Namespace) -> dict:
    """The data set to read, without its split.

    Args:
        args (argparse.Namespace): Of :func:`parse_args`.

    Returns:
        dict: For the registry.

    Raises:
        ValueError: If a config has no test_dataloader.
    """
    folder = Path(args.source).expanduser()
    if folder.is_dir() or args.dataset:
        base = dict(data_root=str(folder), **args.options)
        places = [folder, *(folder / name for name in Market1501.FOLDERS)]
        part = Market1501.PARTS['gallery']
        market = any((place / part).is_dir() for place in places)
        return dict(base, type=args.dataset or ('PersonFolder', 'Market1501')[market])
    loader = load_config(args.source, args.cfg_options).get('test_dataloader')
    if loader is None:
        raise ValueError(f'{args.source}: this config has no test_dataloader.')
    return dict(loader.dataset.to_dict(), pipeline=[], lazy_init=False)


@tool
def main(argv: Sequence[str] | None = None) -> int:
    """Print a table."""
    args = parse_args(argv)
    config = dataset_config(args)
    try:
        query, gallery = (
            DATASETS.build(dict(config, split=s)) for s in ('query', 'gallery')
        )
    except (KeyError, TypeError) as error:  # of an unknown type or argument
        raise ValueError(f'{args.source}: {error}') from error
    scores = run_baseline(query, gallery)
    best = next(iter(scores))
    print(f'{len(query)} queries, {len(gallery)} gallery images')
    print(f'{"distance":<14}{"mAP":>7}{"R1":>7}{"R5":>7}{"R10":>7}')
    for name, row in scores.items():
        numbers = ''.join(f'{row[key]:7.1f}' for key in ('mAP', 'R1', 'R5', 'R10'))
        print(f'{name:<14}{numbers}')
    print(f'best: {best}, mAP {scores[best]["mAP"]:.1f}')
    report = dict(best=dict(distance=best, **scores[best]), distances=scores)
    if args.out is not None:
        args.out.write_text(json.dumps(report, indent=2) + '\n')
    show_result(args, dict(report, queries=len(query), gallery=len(gallery)))
    return 0


if __name__ == '__main__':
    sys.exit(main())
