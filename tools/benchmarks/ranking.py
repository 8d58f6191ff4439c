# SPDX-License-Identifier: Apache-2.0
"""Time, memory and agreement of ``evaluate_ranking``, as Markdown tables.

    python tools/benchmarks/ranking.py
    python tools/benchmarks/ranking.py --device cuda --large 11659 82161 2048

The yardstick is what other rankings start with: the distance matrix and one
full ``np.argsort`` of it, in the same run. Features are made from a seed.
"""

from __future__ import annotations

import argparse
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from mmreid_gcl.evaluation import (
    evaluate_ranking,
    k_reciprocal_rerank,
    rank_from_similarity,
)

TOPK = (1, 5, 10)
MIB = 2**20

#: Weight of what all images share, of the identity, and of noise.
DIFFICULTIES = {
    'easy': (0.0, 1.0, 1.6),
    'ambiguous': (0.0, 1.0, 2.1),
    'untrained': (10.0, 1.0, 3.2),
}


def make_problem(
    queries: int, gallery: int, channels: int, difficulty: str, seed: int
) -> tuple[np.ndarray, ...]:
    """Arguments of ``evaluate_ranking``, from a seed.

    About 20 gallery images an identity, six cameras, a sixth of the gallery
    distractors (pid 0).
    """
    common, identity, noise = DIFFICULTIES[difficulty]
    # As hard for any width: other identities' cosines spread by 1 / sqrt(C).
    noise = np.float32(np.sqrt((1 + noise**2) * np.sqrt(channels / 256) - 1))
    rng = np.random.default_rng(seed)
    pids = max(1, gallery // 20)
    query_pids = rng.integers(1, pids + 1, queries)
    gallery_pids = rng.integers(1, pids + 1, gallery)
    gallery_pids[rng.random(gallery) < 1 / 6] = 0
    centres = rng.standard_normal((pids + 1, channels), dtype=np.float32)
    shared = rng.standard_normal(channels, dtype=np.float32)

    def embed(ids: np.ndarray) -> np.ndarray:
        features = np.empty((len(ids), channels), np.float32)
        for start in range(0, len(ids), 4096):
            part = ids[start : start + 4096]
            block = rng.standard_normal((len(part), channels), dtype=np.float32)
            block *= noise
            block += common * shared
            block += identity * centres[part] * (part != 0)[:, None]
            block /= np.linalg.norm(block, axis=1, keepdims=True)
            features[start : start + 4096] = block
        return features

    return (
        embed(query_pids),
        query_pids,
        rng.integers(0, 6, queries),
        embed(gallery_pids),
        gallery_pids,
        rng.integers(0, 6, gallery),
    )


def full_sort(query: np.ndarray, gallery: np.ndarray) -> np.ndarray:
    """The yardstick: distances, then every row sorted."""
    return np.argsort(1 - query @ gallery.T, axis=1)


def plain_ranking(similarity: np.ndarray, ids: tuple[np.ndarray, ...]) -> dict:
    """The rules on the sorted matrix, query by query."""
    query_pids, query_camids, gallery_pids, gallery_camids = ids
    aps, inps, firsts = [], [], []
    for row, pid, camid in zip(similarity, query_pids, query_camids):
        order = np.argsort(-row, kind='stable')
        same = gallery_pids[order] == pid
        keep = ~(same & (gallery_camids[order] == camid)) & (gallery_pids[order] != -1)
        ranks = np.flatnonzero(same[keep]) + 1
        if len(ranks):
            aps.append(np.mean(np.arange(1, len(ranks) + 1) / ranks))
            inps.append(len(ranks) / ranks[-1])
            firsts.append(ranks[0])
    result = {'mAP': 100 * np.mean(aps), 'mINP': 100 * np.mean(inps)}
    result.update({f'R{k}': 100 * np.mean(np.array(firsts) <= k) for k in TOPK})
    return result


def disagreement(problem: tuple[np.ndarray, ...], result: dict) -> tuple[float, ...]:
    """Largest differences from the plain ranking, in percent points.

    Of ``rank_from_similarity`` on the same similarities, which must be zero,
    and of ``result`` on similarities in float64, where float32 has rounded.
    """
    query, query_pids, query_camids, gallery, *gallery_ids = problem
    ids = query_pids, query_camids, *gallery_ids

    def largest(one: dict, other: dict) -> float:
        return max(abs(one[key] - other[key]) for key in one)

    similarity = query @ gallery.T
    same = largest(
        rank_from_similarity(similarity, *ids), plain_ranking(similarity, ids)
    )
    del similarity
    precise = query.astype(np.float64) @ gallery.astype(np.float64).T
    return same, largest(result, plain_ranking(precise, ids))


def best_of(function: Callable, repeats: int = 3) -> tuple[float, object]:
    """Shortest time of some runs in seconds, and the last result."""
    times = []
    for _ in range(repeats):
        begin = time.perf_counter()
        result = function()
        times.append(time.perf_counter() - begin)
    return min(times), result


def peak_memory(function: Callable) -> tuple[float, object]:
    """Highest resident memory during a call beyond that before it, in MiB."""

    def status(key: str) -> int:
        for line in Path('/proc/self/status').read_text().splitlines():
            if line.startswith(key):
                return int(line.split()[1]) * 1024
        raise KeyError(key)

    Path('/proc/self/clear_refs').write_text('5')  # forget earlier peaks
    before = status('VmRSS')
    result = function()
    return (status('VmHWM') - before) / MIB, result


def run(problem: tuple[np.ndarray, ...], device: str) -> Callable:
    """``evaluate_ranking`` on features that already lie on the device."""
    query, query_pids, query_camids, gallery, gallery_pids, gallery_camids = problem
    if device != 'cpu':
        query = torch.from_numpy(query).to(device)
        gallery = torch.from_numpy(gallery).to(device)
    ids = query_pids, query_camids, gallery, gallery_pids, gallery_camids
    return lambda: evaluate_ranking(query, *ids, topk=TOPK)


def describe(device: str) -> str:
    """One line on the machine."""
    name = platform.processor() or platform.machine()
    cpuinfo = Path('/proc/cpuinfo')
    if cpuinfo.exists():
        models = [x for x in cpuinfo.read_text().splitlines() if 'model name' in x]
        name = models[0].split(':', 1)[1].strip() if models else name
    text = f'{name}, {torch.get_num_threads()} threads'
    if device != 'cpu':
        text += f'; {torch.cuda.get_device_name()}'
    return f'{text}; numpy {np.__version__}, torch {torch.__version__}'


def print_rerank(problem: tuple[np.ndarray, ...]) -> None:
    """Time and memory of k-reciprocal re-ranking, with its gain."""
    query, query_pids, query_camids, gallery, *gallery_ids = problem
    ids = query_pids, query_camids, *gallery_ids
    k_reciprocal_rerank(query[:99], gallery[:99])(np.arange(9))  # compiles
    begin = time.perf_counter()
    peak, (encoded, result) = peak_memory(
        lambda: (
            (similarity := k_reciprocal_rerank(query, gallery)) and time.perf_counter(),
            rank_from_similarity(similarity, *ids, topk=TOPK),
        )
    )
    end = time.perf_counter()
    print('\nk-reciprocal re-ranking of the ambiguous features\n')
    print('| mAP | encoding, s | ranking, s | memory beyond the features, MiB |')
    print('|---|---|---|---|')
    print(
        f'| {result["mAP"]:.2f} | {encoded - begin:.1f} | {end - encoded:.1f} | '
        f'{peak:.0f} |'
    )


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    sizes = dict(type=int, nargs=3, metavar=('Q', 'G', 'C'))
    parser.add_argument('--size', default=(3368, 15913, 256), **sizes)
    parser.add_argument('--large', default=(11659, 82161, 2048), **sizes)
    parser.add_argument('--skip-large', action='store_true')
    parser.add_argument('--rerank', action='store_true', help='time re-ranking too')
    parser.add_argument('--device', default='cpu')
    parser.add_argument('--seed', type=int, default=0)
    args = parser.parse_args()

    print(f'{describe(args.device)}; load {os.getloadavg()[0]:.1f}\n')
    queries, gallery, channels = args.size
    print(f'{queries} x {gallery}, C = {channels}; seconds, best of three\n')
    print(
        '| features | mAP | distances | + argsort | evaluate_ranking | ratio | '
        'off, same similarities | off, float64 |\n|---|---|---|---|---|---|---|---|'
    )
    for difficulty in DIFFICULTIES:
        problem = make_problem(*args.size, difficulty, args.seed)
        rank = run(problem, args.device)
        rank()  # compiles
        seconds, result = best_of(rank)
        product, _ = best_of(lambda p=problem: 1 - p[0] @ p[3].T)
        yardstick, _ = best_of(lambda p=problem: full_sort(p[0], p[3]))
        same, precise = disagreement(problem, result)
        print(
            f'| {difficulty} | {result["mAP"]:.2f} | {product:.3f} | {yardstick:.3f} | '
            f'{seconds:.3f} | {seconds / yardstick:.3f} | {same:.1e} | {precise:.1e} |',
            flush=True,
        )
    if args.rerank:
        print_rerank(make_problem(*args.size, 'ambiguous', args.seed))
    if args.skip_large:
        return
    queries, gallery, channels = args.large
    problem = make_problem(*args.large, 'ambiguous', args.seed)
    rank = run(problem, args.device)
    begin = time.perf_counter()
    peak, result = peak_memory(rank)
    seconds = time.perf_counter() - begin
    print(f'\n{queries} x {gallery}, C = {channels}\n')
    print('| mAP | seconds | memory beyond the features, MiB | on the device, MiB |')
    print('|---|---|---|---|')
    on_device = '–'
    if args.device != 'cpu':
        held = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        seconds, result = best_of(rank)
        on_device = f'{(torch.cuda.max_memory_allocated() - held) / MIB:.0f}'
    print(f'| {result["mAP"]:.2f} | {seconds:.1f} | {peak:.0f} | {on_device} |')


if __name__ == '__main__':
    main()
