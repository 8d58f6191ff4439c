# SPDX-License-Identifier: Apache-2.0
"""Curves of one run or several: clusters, their quality, mAP, loss.

Example: ``python tools/analysis/plot_curves.py work_dirs/a work_dirs/b --out x.png``
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from mmreid_gcl.cli.command_line import add_json_option, show_result, tool
from mmreid_gcl.visualization import (
    read_expected,
    read_scalars,
    save_figure,
    training_curves,
)


@tool
def main(argv: Sequence[str] | None = None) -> int:
    """Write the figure."""
    made = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    made.add_argument('work_dirs', nargs='+', type=Path, help='folders of runs')
    made.add_argument('--names', nargs='+', help='of the runs; else their folders')
    made.add_argument('--out', type=Path, default=Path('curves.png'))
    made.add_argument(
        '--expect', type=Path, help='draw this record beside them: docs/data/expected'
    )
    made.add_argument('--title', help='heading of the figure')
    made.add_argument('--dpi', type=int, default=150, help='pixels an inch')
    add_json_option(made)
    args = made.parse_args(argv)
    names = args.names or names_of(args.work_dirs)
    if len(names) != len(args.work_dirs) or len(set(names)) != len(names):
        raise ValueError(
            f'--names: give {len(args.work_dirs)} different names, one for each '
            f'work dir; got {names}.'
        )
    runs = {n: read_scalars(w) for n, w in zip(names, args.work_dirs)}
    series = {name: run.series for name, run in runs.items()}
    lengths = {name: run.iters_per_epoch for name, run in runs.items()}
    if args.expect is not None:
        name, expected = read_expected(args.expect)
        if name in series:
            raise ValueError(f'--expect: a run has the name {name!r}, too.')
        series[name] = expected
    figure = training_curves(
        series,
        lengths,
        title=args.title or (names[0] if len(names) == 1 else None),
    )
    path = save_figure(figure, args.out, args.dpi)
    print(f'Written: {path}')
    show_result(args, dict(file=path, runs=names))
    return 0


def names_of(work_dirs: list[Path]) -> list[str]:
    """The ends of the paths, as long as it takes to tell them apart."""
    parts = [folder.resolve().parts for folder in work_dirs]
    # 'seed1' of tools/experiments.py says nothing without the folder above
    least = 2 if any(p[-1].removeprefix('seed').isdigit() for p in parts) else 1
    for length in range(least, max(map(len, parts)) + 1):
        names = ['/'.join(p[-length:]) for p in parts]
        if len(set(names)) == len(names):
            return names
    raise ValueError(f'The same work dir is given twice: {work_dirs}.')


if __name__ == '__main__':
    sys.exit(main())
