# SPDX-License-Identifier: Apache-2.0
"""Retrieval by colour histograms: what a data set gives without learning.

Example: ``python tools/analysis/histogram_baseline.py data/synthetic``
"""

from __future__ import annotations

import argparse
import json
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from mmreid_gcl.apis.images import read_image
from mmreid_gcl.datasets import ReIDDataset
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


def main(argv: list[str] | None = None) -> int:
    """Print a table; 0 when there is one."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('data_root', help='folder of the data set')
    parser.add_argument(
        '--dataset', default='Market1501', help='class of the data set (%(default)s)'
    )
    parser.add_argument('--out', type=Path, help='also write the scores here as JSON')
    args = parser.parse_args(argv)
    try:
        query, gallery = (
            DATASETS.build(dict(type=args.dataset, data_root=args.data_root, split=s))
            for s in ('query', 'gallery')
        )
        scores = run_baseline(query, gallery)
    except (OSError, ValueError, KeyError) as error:
        print(f'histogram_baseline: {error}', file=sys.stderr)
        return 2
    best = next(iter(scores))
    print(f'{len(query)} queries, {len(gallery)} gallery images')
    print(f'{"distance":<14}{"mAP":>7}{"R1":>7}{"R5":>7}{"R10":>7}')
    for name, row in scores.items():
        numbers = ''.join(f'{row[key]:7.1f}' for key in ('mAP', 'R1', 'R5', 'R10'))
        print(f'{name:<14}{numbers}')
    print(f'best: {best}, mAP {scores[best]["mAP"]:.1f}')
    if args.out is not None:
        report = dict(best=dict(distance=best, **scores[best]), distances=scores)
        args.out.write_text(json.dumps(report, indent=2) + '\n')
    return 0


if __name__ == '__main__':
    sys.exit(main())
