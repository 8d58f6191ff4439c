# SPDX-License-Identifier: Apache-2.0
"""A similarity threshold with a meaning, and probabilities, for a gallery.

``python tools/calibrate.py CONFIG gallery --checkpoint epoch_60.pth --labels
clusters/clusters.csv``
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mmreid_gcl.apis import ReIDInferencer
from mmreid_gcl.apis.folder import list_folder, read_clusters
from mmreid_gcl.apis.gallery_index import GalleryIndex, is_gallery
from mmreid_gcl.cli.command_line import (
    add_folder_arguments,
    add_json_option,
    add_model_arguments,
    build_inferencer,
    check_ending,
    exit_code,
    folder_options,
    show_result,
    tool,
)
from mmreid_gcl.evaluation.calibration import Calibration, Pairs, calibrate
from mmreid_gcl.files import write_atomically


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description='Find the similarity from which on two images count as one person, '
        'for a wanted rate of false matches, and keep it with a gallery: searches then '
        'say who is not in it. People are known by --labels, by the identities of a '
        'labelled folder (--split test), or by tracks. Exit code 2: nothing was done; '
        '3: done, but some crops could not be read.'
    )
    add_model_arguments(parser)
    parser.add_argument('crops', help='saved index, or folder of crops')
    parser.add_argument(
        '--labels', help='CSV with the columns path and label, as cluster.py writes it'
    )
    parser.add_argument(
        '--rate',
        type=float,
        default=0.01,
        help='wanted false-match rate (%(default)s)',
    )
    parser.add_argument(
        '--over',
        default='search',
        choices=['search', 'pair'],
        help='rate of searches of all cameras for somebody who is not there '
        '(%(default)s), or of pairs of images',
    )
    parser.add_argument(
        '--among',
        choices=['across', 'within', 'all'],
        help='take pairs of one person (for --over pair: all pairs) across cameras, '
        'within one, or all; default: across where people are known in several '
        'cameras. within: people are known in one camera alone, as by tracks; of '
        'several cameras each may have its share of the rate',
    )
    parser.add_argument(
        '--method', default='isotonic', choices=['isotonic', 'logistic']
    )
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--index', help='saved index to keep it with; default: crops')
    parser.add_argument('--out', help='result as .json')
    parser.add_argument('--figure', help='both distributions: .png, .pdf or .svg')
    add_json_option(parser)
    add_folder_arguments(parser)
    args = parser.parse_args(argv)
    if not Path(args.crops).expanduser().exists():
        raise FileNotFoundError(f'{args.crops}: there is no such gallery or folder.')
    if args.index is None and is_gallery(args.crops):
        args.index = args.crops
    if not (args.index or args.out):
        parser.error('say where to keep the result: --index GALLERY or --out FILE.json')
    check_ending(parser, args, 'out', '.json')
    check_ending(parser, args, 'figure', '.png', '.pdf', '.svg')
    return args


class Crops(NamedTuple):
    """Embeddings, and who is on them."""

    features: np.ndarray
    cameras: np.ndarray
    people: np.ndarray  #: (N,) int64, -1 is not known
    source: str  #: 'labels', 'identities' or 'tracks'
    failed: dict[str, str]


def read_crops(args: argparse.Namespace, inferencer: ReIDInferencer) -> Crops:
    """The crops of the command line.

    Args:
        args (argparse.Namespace): The command line.
        inferencer (ReIDInferencer): Embeds a folder; an index must be of its model.

    Returns:
        Crops: With people from labels, else identities, else tracks.

    Raises:
        ValueError: If nobody is known.
    """
    if is_gallery(args.crops):
        gallery = inferencer.load_gallery(args.crops)
        features, cameras, failed = gallery.features, gallery.cameras, {}
        pids, tracks = np.full(len(gallery), -1), gallery.tracks
        paths = gallery.paths
    else:
        images = list_folder(args.crops, **folder_options(args))
        found = inferencer.extract(images.files())
        kept = images.select(found.rows)
        features, cameras, failed = found.features, kept.cameras, found.failed
        pids, paths = kept.columns['pid'], kept.paths
        tracks = kept.columns.get('track', np.full(len(kept), -1))
    cameras = np.array(cameras)
    if args.labels:
        people = np.full(len(paths), -1, np.int64)
        for label, rows in read_clusters(args.labels, paths).items():
            people[rows] = label
        return Crops(features, cameras, people, 'labels', failed)
    if (pids >= 0).any():
        return Crops(features, cameras, pids, 'identities', failed)
    if (tracks >= 0).any():
        codes = np.unique(cameras, return_inverse=True)[1]
        people = np.unique([codes, tracks], axis=1, return_inverse=True)[1].ravel()
        people[tracks < 0] = -1
        return Crops(features, cameras, people, 'tracks', failed)
    raise ValueError(
        f'{args.crops}: nobody is known there: no tracks, and no identities in '
        'query and gallery (--split test). Give --labels, for example clusters.csv of '
        'tools/cluster.py.'
    )


def describe(result: Calibration, pairs: Pairs, source: str) -> list[str]:
    """The result in words."""
    lines = []
    for name, chosen in (
        ('across cameras', pairs.across),
        ('within one', ~pairs.across),
    ):
        for kind, rows in (('one person', pairs.same), ('different', ~pairs.same)):
            values = pairs.similarity[chosen & rows]
            if len(values):
                low, middle, high = np.quantile(values, [0.05, 0.5, 0.95])
                lines.append(
                    f'{name:15} {kind:10} {len(values):9,} pairs, similarity '
                    f'{middle:6.3f} (5 % {low:6.3f}, 95 % {high:6.3f})'
                )
    searched = result.over == 'search'
    where = dict(across='across cameras', within='within a camera', all='all cameras')
    ending = f', {where[result.cameras]}.'
    percent = f'{100 * result.confidence:g} %'
    low, high = (100 * value for value in result.hits_interval)
    lines.append(
        f'threshold {result.threshold:.3f} ({percent}: {result.interval[0]:.3f} to '
        f'{result.interval[1]:.3f}): {100 * result.rate:g} % of '
        + (
            f'searches among {result.images:,} images name somebody who is not there'
            if searched
            else 'pairs of different people reach it'
        )
        + ('.' if searched else ending)
    )
    lines.append(
        f'{100 * result.hits:.1f} % ({percent}: {low:.1f} to {high:.1f}) of '
        + (
            'searches find the person who is there'
            if searched
            else 'pairs of one person reach it'
        )
        + ending
    )
    if result.people < 20:
        lines.append(
            f'Only {result.people} people: take the intervals for too narrow, and '
            'label more.'
        )
    if source == 'labels':
        lines.append(
            'If the labels are clusters of this model, all this is too good: clusters '
            'are what is similar. Check it with some labelled people.'
        )
    elif source == 'tracks':
        lines.append(
            'By tracks: a person with two tracks in one camera counts as two, which '
            'makes the threshold too high; nothing is known across cameras, so each '
            'was searched alone, with its share of the rate.'
        )
    return lines


@tool
def main(argv: Sequence[str] | None = None) -> int:
    """Embed or load, calibrate, write."""
    args = parse_args(argv)
    inferencer = build_inferencer(args)
    crops = read_crops(args, inferencer)
    among = args.among
    if among is None:
        cameras = np.unique(crops.cameras[crops.people >= 0])
        several = crops.source != 'tracks' and len(cameras) > 1
        among = 'across' if several else 'within'
    elif among != 'within' and crops.source == 'tracks':
        raise ValueError(
            f'--among {among}: tracks say nothing across cameras. Give --labels, or '
            '--among within.'
        )
    result, pairs = calibrate(
        crops.features,
        crops.people,
        crops.cameras,
        args.rate,
        args.over,
        among,
        args.method,
        seed=args.seed,
        model_hash=inferencer.model_hash,
    )
    for line in describe(result, pairs, crops.source):
        print(line)
    unknown = int((crops.people < 0).sum())
    if unknown:
        print(
            f'{unknown:,} of {len(crops.people):,} crops are of nobody known, and were '
            'not searched: among them a search may find more.'
        )
    if args.figure:
        from mmreid_gcl.visualization import save_figure, similarity_distributions

        figure = similarity_distributions(
            pairs.similarity,
            pairs.same,
            pairs.across,
            result.threshold,
            result.interval,
            f'Threshold for {100 * result.rate:g} % false matches ({result.over})',
            f'{result.people:,} people by {crops.source}; band: '
            f'{100 * result.confidence:g} % interval of the threshold',
        )
        save_figure(figure, args.figure)
    if args.out:
        text = json.dumps(result.to_dict(), indent=1) + '\n'
        write_atomically(args.out, text.encode())
    if args.index:
        with GalleryIndex.edit(args.index, inferencer.model_hash) as gallery:
            gallery.calibration = result
        print(f'Kept in {args.index}, whose searches use it.')
    show_result(args, dict(calibration=result.to_dict(), failed=crops.failed))
    return exit_code(crops.failed)


if __name__ == '__main__':
    sys.exit(main())
