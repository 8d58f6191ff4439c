# SPDX-License-Identifier: Apache-2.0
"""How time and memory of clustering grow with the number of images.

    python tools/benchmarks/growth.py --out growth.json --figure growth.png
    python tools/benchmarks/growth.py --rows 1000000 --out growth.json

Ambiguous features, k1 = 30, k2 = 6, one run of each size. Sizes that ``--out``
already holds are not run again; a table and the figure show all it holds.
"""

from __future__ import annotations

import argparse
import json
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from clustering import EPS, cluster, print_table
from common import DIFFICULTIES, machine, seeded_features
from matplotlib.figure import Figure
from mmengine.logging import MMLogger

from mmreid_gcl.clustering import adjusted_rand_index
from mmreid_gcl.clustering.features import prepare_features
from mmreid_gcl.clustering.knn import _choose
from mmreid_gcl.visualization import save_figure

STEPS = dict(
    knn='neighbours', encode='weights V', jaccard='sums of minima', dbscan='DBSCAN'
)


def measure(n: int, args: argparse.Namespace) -> dict:
    """One size."""
    x, identities = seeded_features(n, args.width, args.difficulty, args.seed)
    knn = dict(backend=args.backend)
    if args.backend == 'auto':
        knn['backend'], options = _choose(prepare_features(x, unit=True), {})
        knn.update(options)
    if knn['backend'] == 'int8':
        knn['recall_sample'] = 0
    run = cluster(x, knn)
    labels = run.pop('labels')
    return dict(
        rows=n,
        width=args.width,
        difficulty=args.difficulty,
        backend=knn['backend'],
        machine=machine(),
        features_mib=x.nbytes / 2**20,
        clusters=int(labels.max() + 1),
        outliers=int((labels < 0).sum()),
        ari=float(adjusted_rand_index(labels, identities)),
        **{key: float(value) for key, value in run.items()},
    )


def draw(runs: list[dict]) -> Figure:
    """Seconds of each step, and memory, over the number of rows."""
    figure = Figure(figsize=(10, 4.2), layout='constrained')
    left, right = figure.subplots(1, 2)
    rows = [run['rows'] for run in runs]
    for key, name in (*STEPS.items(), ('total', 'total')):
        seconds = [max(run[key], 1e-3) for run in runs]
        width = 2.5 if key == 'total' else 1.3
        left.plot(rows, seconds, 'o-', label=name, linewidth=width, markersize=4)
    switch = [b for a, b in pairwise(runs) if a['backend'] != b['backend']]
    for run in switch:
        for axes in (left, right):
            axes.axvline(run['rows'], color='0.8', zorder=0)
        left.annotate(
            f'{run["backend"]} from here', (run['rows'], 1.15e-3), rotation=90,
            color='0.4', ha='right', fontsize=7,
        )  # fmt: skip
    right.plot(
        rows, [run['mib'] for run in runs], 'o-', label='clustering', markersize=4
    )
    right.plot(
        rows, [run['features_mib'] for run in runs], 's--', color='0.5', markersize=4,
        label='the features themselves',
    )  # fmt: skip
    dense = np.array([n**2 * 4 / 2**20 for n in rows])
    right.plot(rows, dense, ':', color='0.5', label='one dense N x N float32')
    left.set(ylabel='seconds', ylim=(1e-3, None))
    right.set(ylabel='MiB beyond the start')
    for axes in (left, right):
        axes.set(xscale='log', yscale='log', xlabel='images N')
        axes.grid(alpha=0.25)
        axes.legend(fontsize=8)
    first = runs[0]
    figure.suptitle(
        f'Clustering of {first["difficulty"]} features, C = {first["width"]}, '
        f'{first["machine"]}',
        fontsize=10,
    )
    return figure


def parse_args() -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument(
        '--rows', nargs='*', type=int,
        default=[10_000, 20_000, 50_000, 100_000, 200_000, 500_000, 1_000_000],
    )  # fmt: skip
    parser.add_argument('--width', type=int, default=256)
    parser.add_argument('--difficulty', choices=DIFFICULTIES, default='ambiguous')
    parser.add_argument('--backend', default='auto')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--out', default='growth.json', help='measurements (JSON)')
    parser.add_argument('--figure', help='where to draw it')
    return parser.parse_args()


def main() -> None:
    """Measure what is missing, print and draw all."""
    args = parse_args()
    # lines with the time left: the largest size takes long
    MMLogger.get_instance('mmengine', log_level='INFO')
    out = Path(args.out)
    runs = json.loads(out.read_text()) if out.is_file() else []
    cluster(seeded_features(500, 32, 'easy')[0], {})  # compiles the kernels
    for n in args.rows:
        key = (n, args.width, args.difficulty)
        if any((r['rows'], r['width'], r['difficulty']) == key for r in runs):
            continue
        print(f'{n} x {args.width}, {args.difficulty}', file=sys.stderr, flush=True)
        runs.append(measure(n, args))
        runs.sort(key=lambda run: (run['width'], run['difficulty'], run['rows']))
        out.write_text(json.dumps(runs, indent=1) + '\n')
    shown = [
        r for r in runs
        if (r['width'], r['difficulty']) == (args.width, args.difficulty)
    ]  # fmt: skip
    print(f'Seconds; k1 = 30, k2 = 6, eps = {EPS}; {machine()}.')
    print_table(
        ['N', 'backend', *STEPS.values(), 'total', 'V entries a row', 'MiB',
         'features, MiB', 'clusters', 'outliers', 'ARI with identities'],
        [
            [f'{r["rows"]:,}', r['backend'], *(f'{r[key]:.2f}' for key in STEPS),
             f'{r["total"]:.1f}', f'{r["entries"]:.0f}', f'{r["mib"]:.0f}',
             f'{r["features_mib"]:.0f}', r['clusters'], r['outliers'],
             f'{r["ari"]:.3f}']
            for r in shown
        ],
    )  # fmt: skip
    if args.figure:
        save_figure(draw(shown), args.figure)


if __name__ == '__main__':
    main()
