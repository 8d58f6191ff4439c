# SPDX-License-Identifier: Apache-2.0
"""CUHK03 from its MATLAB file to folders of images.

``python tools/dataset_converters/cuhk03.py data/cuhk03_release data/cuhk03``
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from mmreid_gcl.cli.command_line import add_json_option, show_result, tool
from mmreid_gcl.datasets.conversion import convert_cuhk03
from mmreid_gcl.datasets.conversion.cuhk03 import CROPS

SPLITS = (
    'cuhk03_new_protocol_config_{}.mat',
    'splits_new_{}.json',
)


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description='Write the crops of cuhk-03.mat as PNG files in the split of 767 '
        'and 700 people, with SHA256SUMS and conversion.json. Needs h5py. Exit code 2: '
        'it could not be done.'
    )
    parser.add_argument(
        'source',
        help='folder that holds cuhk-03.mat and, in it or beside it, '
        'cuhk03_new_protocol_config_labeled.mat and …_detected.mat',
    )
    parser.add_argument('out', help='folder to write')
    parser.add_argument(
        '--crops',
        nargs='+',
        choices=CROPS,
        help='default: those whose split is there',
    )
    parser.add_argument('--split-labeled', help='its split, if elsewhere')
    parser.add_argument('--split-detected', help='its split, if elsewhere')
    parser.add_argument('--overwrite', action='store_true', help='replace a conversion')
    add_json_option(parser)
    return parser.parse_args(argv)


def find_splits(args: argparse.Namespace, source: Path) -> dict[str, Path]:
    """The file of the split of each kind of crop that is wanted.

    Args:
        args (argparse.Namespace): The command line.
        source (Path): Folder of ``cuhk-03.mat``.

    Returns:
        dict[str, Path]: At least one.

    Raises:
        FileNotFoundError: If one is missing.
    """
    found = {}
    for crops in args.crops or CROPS:
        given = getattr(args, f'split_{crops}')
        names = [name.format(crops) for name in SPLITS]
        candidates = [f / name for f in (source, source.parent) for name in names]
        path = Path(given) if given else next(filter(Path.is_file, candidates), None)
        if path is not None:
            found[crops] = path
        elif args.crops:
            raise FileNotFoundError(
                f'{source}: the split of the {crops} crops is missing; expected '
                f'{names[0]} here or in the folder above, or --split-{crops} FILE.'
            )
    if not found:
        raise FileNotFoundError(
            f'{source}: no split is here or in the folder above; expected '
            f'{SPLITS[0].format("labeled")} or {SPLITS[0].format("detected")}.'
        )
    return found


@tool
def main(argv: Sequence[str] | None = None) -> int:
    """Convert and print the counts."""
    args = parse_args(argv)
    source = Path(args.source)
    mat = source if source.suffix == '.mat' else source / 'cuhk-03.mat'
    splits = find_splits(args, mat.parent)
    counts = convert_cuhk03(mat, splits, args.out, args.overwrite)
    for crops, parts in counts.items():
        numbers = ', '.join(f'{part} {number:,}' for part, number in parts.items())
        print(f'{args.out}/{crops}: {numbers}')
    show_result(args, dict(folder=args.out, images=counts))
    return 0


if __name__ == '__main__':
    sys.exit(main())
