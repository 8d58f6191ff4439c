# SPDX-License-Identifier: Apache-2.0
"""Time of one search in a large gallery, and what a shortlist loses.

    python tools/benchmarks/gallery.py --images 1000000 --width 512

Features are made from a seed, see ``common.py``. Exact searches compare every
embedding; ``exact=False`` compares a shortlist.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time

import numpy as np
from common import DIFFICULTIES, Measured, machine, seeded_features

from mmreid_gcl.apis import GalleryIndex
from mmreid_gcl.parallel import all_cores


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--images', type=int, default=1_000_000)
    parser.add_argument('--width', type=int, default=512)
    parser.add_argument('--queries', type=int, default=50)
    parser.add_argument('--difficulty', default='ambiguous', choices=DIFFICULTIES)
    parser.add_argument('--save', action='store_true', help='time the disk too')
    args = parser.parse_args()
    total = args.images + args.queries
    features, _ = seeded_features(total, args.width, args.difficulty)
    queries, features = features[: args.queries], features[args.queries :]
    names = [f'{row}.jpg' for row in range(args.images)]
    gallery = GalleryIndex(features, names, ['a'] * args.images)
    del features
    print(f'{machine()}, load {os.getloadavg()[0]:.1f}')
    print(f'{args.images:,} x {args.width}, {args.difficulty}\n')
    with Measured() as building:
        gallery.search(queries[0], exact=False)
    print(f'shortlist built in {building.seconds:.0f} s, {building.mib:.0f} MiB\n')
    print('| search | fastest, ms | median, ms | of the first ten | first |')
    print('|---|---|---|---|---|')
    expected = None
    for exact in (True, False):
        spent, found = [], []
        for query in queries:
            begin = time.perf_counter()
            (matches,) = gallery.search(query, 10, exact=exact)
            spent.append(1000 * (time.perf_counter() - begin))
            found.append([match.index for match in matches])
        expected = expected or found
        shared = np.mean([len({*a} & {*b}) / 10 for a, b in zip(found, expected)])
        first = np.mean([a[0] == b[0] for a, b in zip(found, expected)])
        print(
            f'| {"exact" if exact else "exact=False"} | {min(spent):.1f} | '
            f'{np.median(spent):.1f} | {shared:.1%} | {first:.1%} |',
            flush=True,
        )
    if args.save:
        with tempfile.TemporaryDirectory() as folder:
            for name, work in (
                ('save', lambda: gallery.save(folder)),
                ('load', lambda: GalleryIndex.load(folder)),
            ):
                with Measured() as spent_on:
                    work()
                print(f'{name}: {spent_on.seconds:.1f} s, {spent_on.mib:.0f} MiB')


if __name__ == '__main__':
    with all_cores():
        main()
