# SPDX-License-Identifier: Apache-2.0
"""Any benchmark that this package reads, in the layout of Market-1501.

``python tools/dataset_converters/to_market_layout.py MSMT17 data/msmt17 data/flat``
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import mmreid_gcl.datasets  # noqa: F401  (registers them)
from mmreid_gcl.cli.command_line import (
    add_dataset_options,
    add_json_option,
    show_result,
    tool,
)
from mmreid_gcl.datasets.benchmark import BenchmarkDataset
from mmreid_gcl.datasets.conversion import convert_to_market
from mmreid_gcl.datasets.conversion.market_layout import MODES
from mmreid_gcl.registry import DATASETS


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    known = sorted(
        name
        for name, kind in DATASETS.module_dict.items()
        if issubclass(kind, BenchmarkDataset)
    )
    parser = argparse.ArgumentParser(
        description='Write a benchmark in the layout and naming of Market-1501, with '
        'SHA256SUMS and conversion.json, for programs that read nothing else. This '
        'package reads all of them as they are. Exit code 2: it could not be done.'
    )
    parser.add_argument('type', choices=known)
    parser.add_argument('source', help='its data_root')
    parser.add_argument('out', help='folder to write')
    parser.add_argument(
        '--mode', default='copy', choices=MODES, help='links need no space'
    )
    parser.add_argument('--overwrite', action='store_true', help='replace a conversion')
    add_dataset_options(parser)
    add_json_option(parser)
    return parser.parse_args(argv)


@tool
def main(argv: Sequence[str] | None = None) -> int:
    """Convert and print the counts."""
    args = parse_args(argv)
    counts = convert_to_market(
        DATASETS.get(args.type),
        args.source,
        args.out,
        args.mode,
        args.overwrite,
        **args.options,
    )
    numbers = ', '.join(f'{part} {number:,}' for part, number in counts.items())
    print(f'{args.out}: {numbers}')
    show_result(args, dict(folder=args.out, images=counts))
    return 0


if __name__ == '__main__':
    sys.exit(main())
