# SPDX-License-Identifier: Apache-2.0
"""Time, memory and correctness of clustering, as Markdown tables.

    python tools/benchmarks/clustering.py
    python tools/benchmarks/clustering.py --sizes 12936x2048 --check-labels
    python tools/benchmarks/clustering.py --device cuda --sizes 32621x2048
    python tools/benchmarks/clustering.py --sizes 1000000x256 --backend int8 --no-floor

The yardstick ("floor") is exact search alone: ``faiss.IndexFlatL2`` add + search,
k = 30, all threads, in the same run. Features are made from a seed.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from common import DIFFICULTIES, Measured, machine, seeded_features
from mmengine.logging import MMLogger

from mmreid_gcl.clustering import adjusted_rand_index, dbscan_on_graph
from mmreid_gcl.clustering.features import Features, prepare_features
from mmreid_gcl.clustering.k_reciprocal import encode, jaccard_graph
from mmreid_gcl.clustering.knn import squared_knn
from mmreid_gcl.clustering.recall import true_neighbours
from mmreid_gcl.parallel import all_cores

K1, K2, EPS, MIN_SAMPLES = 30, 6, 0.6, 4


def floor(x: np.ndarray, repeats: int) -> float:
    """Seconds of exact search by faiss, the smallest of some runs."""
    import faiss

    seconds = []
    for _ in range(repeats):
        with all_cores():
            begin = time.perf_counter()
            index = faiss.IndexFlatL2(x.shape[1])
            index.add(x)
            index.search(x, K1)
            seconds.append(time.perf_counter() - begin)
    return min(seconds)


def cluster(x: np.ndarray, knn: dict) -> dict:
    """One run of all steps, each with its time."""
    marks = [time.perf_counter()]
    with Measured() as measured:
        features = prepare_features(x, unit=True)
        squared, neighbours = squared_knn(features, K1, **knn)
        marks.append(time.perf_counter())
        encoding = encode(features, squared, neighbours, K1, K2)
        marks.append(time.perf_counter())
        entries = encoding.nnz / len(x)
        graph = jaccard_graph(encoding, EPS)
        marks.append(time.perf_counter())
        labels = dbscan_on_graph(graph, EPS, MIN_SAMPLES)
        marks.append(time.perf_counter())
    steps = np.diff(marks)
    return dict(
        knn=steps[0],
        encode=steps[1],
        jaccard=steps[2],
        dbscan=steps[3],
        total=sum(steps),
        entries=entries,
        mib=measured.mib,
        labels=labels,
    )


def dense_labels(x: np.ndarray) -> np.ndarray:
    """Labels from the definition, with N x N arrays and scikit-learn's DBSCAN.

    For N up to Market-1501's 12,936: some 3 GiB and minutes.
    """
    from sklearn.cluster import DBSCAN

    n = len(x)
    x = x / np.linalg.norm(x, axis=1, keepdims=True)
    half = round(K1 / 2) + 1
    squared = np.maximum(2 - 2 * (x @ x.T), 0)
    np.fill_diagonal(squared, -1)  # a row is its own first neighbour
    order = np.empty((n, K1), np.int64)
    for i in range(n):
        near = np.argpartition(squared[i], K1)[:K1]
        order[i] = near[np.lexsort((near, squared[i, near]))]
    np.fill_diagonal(squared, 0)

    def reciprocal(k):
        member = np.zeros((n, n), bool)
        member[np.arange(n)[:, None], order[:, :k]] = True
        return member & member.T

    r, r_half = reciprocal(K1), reciprocal(half)
    v = np.zeros((n, n), np.float32)
    for i in range(n):
        star = r[i].copy()
        for c in np.flatnonzero(r[i]):
            if 3 * (r_half[c] & r[i]).sum() > 2 * r_half[c].sum():
                star |= r_half[c]
        columns = np.flatnonzero(star)
        weights = np.exp(-squared[i, columns])
        v[i, columns] = weights / weights.sum()
    del r, r_half, squared
    v = np.stack([v[order[i, :K2]].mean(0) for i in range(n)])
    holders = [np.flatnonzero(v[:, j]) for j in range(n)]
    jaccard = np.empty((n, n), np.float32)
    for i in range(n):
        s = np.zeros(n)
        for j in np.flatnonzero(v[i]):
            rows = holders[j]
            s[rows] += np.minimum(v[i, j], v[rows, j])
        jaccard[i] = np.maximum(0, 1 - s / (2 - s))
        jaccard[i, i] = 0
    model = DBSCAN(eps=EPS, min_samples=MIN_SAMPLES, metric='precomputed')
    return model.fit_predict(jaccard)


def search_seconds(
    features: Features, repeats: int, backend: str, options: dict
) -> tuple[float, float]:
    """Seconds, the smallest of some runs, and recall on 1000 rows."""
    seconds = []
    for _ in range(repeats):
        begin = time.perf_counter()
        _, found = squared_knn(features, K1, backend, **options)
        seconds.append(time.perf_counter() - begin)
    rows, truth = true_neighbours(features, min(K1, len(features)) - 1, 1000)
    hits = sum(len(np.intersect1d(a, b)) for a, b in zip(truth, found[rows, 1:]))
    return min(seconds), hits / truth.size


def print_table(head: list[str], rows: list[list]) -> None:
    """One Markdown table."""
    print('\n| ' + ' | '.join(head) + ' |')
    print('|' + '---|' * len(head))
    for row in rows:
        print('| ' + ' | '.join(str(cell) for cell in row) + ' |', flush=True)
    print()


def clustering_table(args, note: Callable) -> None:
    """Neighbours, Jaccard distances and DBSCAN beside the floor."""
    rows = []
    for n, c in args.sizes:
        for difficulty in args.difficulties:
            note(f'{n} x {c}, {difficulty}')
            x, identities = seeded_features(n, c, difficulty, args.seed)
            limit = np.nan if args.no_floor else floor(x, args.repeats)
            runs = [cluster(x, args.knn) for _ in range(args.repeats)]
            best = min(runs, key=lambda run: run['total'])
            labels = best['labels']
            allowed = 2 * x.nbytes / 2**20 + 600
            equal = '-'
            if args.check_labels and n <= 12936:
                equal = np.array_equal(dense_labels(x), labels)
            rows.append([
                f'{n} x {c}', difficulty, '-' if args.no_floor else f'{limit:.2f}',
                f'{best["knn"]:.2f}',
                f'{best["encode"]:.2f}', f'{best["jaccard"]:.2f}',
                f'{best["dbscan"]:.2f}', f'{best["total"]:.2f}',
                '-' if args.no_floor else f'**{best["total"] / limit:.2f}**',
                f'{best["entries"]:.0f}',
                f'{max(run["mib"] for run in runs):.0f} / {allowed:.0f}',
                labels.max() + 1, (labels < 0).sum(),
                f'{adjusted_rand_index(labels, identities):.3f}', equal,
            ])  # fmt: skip
    print(
        'Seconds; k1 = 30, k2 = 6, eps = 0.6, min_samples = 4; best of '
        f'{args.repeats}; memory: peak above the start / 2 x features + 600 MiB.'
    )
    print_table(
        ['size', 'features', 'floor', 'kNN', 'encode', 'Jaccard', 'DBSCAN', 'total',
         'total / floor', 'V entries a row', 'MiB', 'clusters', 'outliers',
         'ARI with identities', 'labels = dense'],
        rows,
    )  # fmt: skip


def search_table(args, note: Callable) -> None:
    """Backends of ``knn_search`` beside each other."""
    backends = [('faiss', {}), ('symmetric', {}), ('int8', dict(recall_sample=0))]
    if args.device == 'cpu':
        backends += [('torch', dict(device='cpu'))]
    else:
        backends += [
            ('torch', dict(device=args.device, precision=precision))
            for precision in ('float32', 'tf32', 'float16', 'bfloat16')
        ]
    backends += [('ivf', dict(recall_sample=0))]
    rows = []
    for n, c in args.sizes:
        for difficulty in args.difficulties:
            x, _ = seeded_features(n, c, difficulty, args.seed)
            features = prepare_features(x, unit=True)
            # the first call compiles kernels and wakes a GPU up
            for backend, options in backends:
                few = prepare_features(x[:2000], unit=True)
                squared_knn(few, K1, backend, **options)
                if args.no_floor and backend in ('faiss', 'symmetric'):
                    continue
                note(f'{n} x {c}, {difficulty}, {backend} {options}')
                seconds, recall = search_seconds(
                    features, args.repeats, backend, options
                )
                name = options.get('precision', '')
                rows.append([
                    f'{n} x {c}', difficulty, f'{backend} {name}'.strip(),
                    f'{seconds:.2f}', f'{recall:.4f}',
                ])  # fmt: skip
    print(f'Neighbour search, k = 30, seconds, best of {args.repeats}.')
    head = ['size', 'features', 'backend', 's', 'recall@29, 1000 rows']
    print_table(head, rows)


def subset_table(args, note: Callable) -> None:
    """Labels of an approximate search against those of the exact one."""
    rows = []
    for difficulty in args.difficulties:
        x, _ = seeded_features(args.subset, 256, difficulty, args.seed)
        exact = cluster(x, dict(backend='symmetric'))['labels']
        for backend in ('int8', 'ivf'):
            note(f'labels of {backend}, {difficulty}')
            labels = cluster(x, dict(backend=backend))['labels']
            rows.append([
                difficulty, backend, f'{adjusted_rand_index(labels, exact):.4f}',
            ])  # fmt: skip
    print(f'Labels by approximate against exact neighbours, {args.subset} x 256.')
    print_table(['features', 'backend', 'ARI'], rows)


def parse_args() -> argparse.Namespace:
    """Command line."""

    def size(text):
        n, c = text.lower().split('x')
        return int(n), int(c)

    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument(
        '--sizes', nargs='+', type=size, default=[(12936, 2048), (32621, 2048)],
        metavar='NxC', help='default: 12936x2048 32621x2048',
    )  # fmt: skip
    parser.add_argument(
        '--difficulties', nargs='+', choices=DIFFICULTIES, default=DIFFICULTIES
    )
    parser.add_argument('--backend', default='auto', help='of the clustering table')
    parser.add_argument('--device', default='cpu', help='of torch, for example cuda')
    parser.add_argument('--repeats', type=int, default=3)
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument(
        '--no-floor', action='store_true', help='leave exact CPU searches out'
    )
    parser.add_argument(
        '--check-labels', action='store_true',
        help='compare with a dense computation, N <= 12936 (minutes, 3 GiB)',
    )  # fmt: skip
    parser.add_argument(
        '--tables', nargs='+', choices=('clustering', 'search', 'subset'),
        default=('clustering', 'search'),
    )  # fmt: skip
    parser.add_argument(
        '--subset', type=int, default=50_000, help='rows of the subset table'
    )
    args = parser.parse_args()
    args.knn = dict(backend=args.backend)
    if args.backend == 'torch':
        args.knn['device'] = args.device
    return args


def main() -> None:
    """Print every table."""
    args = parse_args()
    MMLogger.get_instance('mmengine', log_level='WARNING')
    print(f'Machine: {machine(args.device)}.\n')

    def note(text):
        print(text, file=sys.stderr, flush=True)

    cluster(seeded_features(500, 32, 'easy')[0], args.knn)  # compiles the kernels
    tables = dict(clustering=clustering_table, search=search_table, subset=subset_table)
    for name in args.tables:
        tables[name](args, note)


if __name__ == '__main__':
    main()
