# SPDX-License-Identifier: Apache-2.0
"""Exact self-search that computes every product once.

In a search of all rows among themselves the distance of (i, j) is the distance
of (j, i). A block of products of rows I with rows J > I therefore serves the
rows of I (read along its rows) and those of J (read along its columns): half
the products of a general search, which are nearly all of its time.
"""

from concurrent.futures import ThreadPoolExecutor

import numba as nb
import numpy as np

from ._parallel import Progress, num_threads
from .features import Features

_LANES = 64


@nb.njit(nogil=True, cache=True)
def insert_neighbour(distances, indices, distance, index):
    """Insert into one ascending list; the last entry falls out.

    Equal distances keep the order in which they came.
    """
    p = len(distances) - 1
    while p > 0 and distances[p - 1] > distance:
        distances[p] = distances[p - 1]
        indices[p] = indices[p - 1]
        p -= 1
    distances[p] = distance
    indices[p] = index


@nb.njit(nogil=True, cache=True, fastmath={'contract'})
def _count_below(products, two, off, scale, offset, worst):
    # Over whole slices from 0: only such loops are turned into vector code.
    hits = np.int32(0)
    for c in range(products.shape[0]):
        d = offset[c] + off - two * scale[c] * products[c]
        hits += np.int32(d < worst)
    return hits


@nb.njit(nogil=True, cache=True, fastmath={'contract'})
def _count_below_each(products, two, off, scale, offset, worst):
    hits = np.int32(0)
    for c in range(products.shape[0]):
        d = offset[c] + off - two * scale[c] * products[c]
        hits += np.int32(d < worst[c])
    return hits


@nb.njit(nogil=True, cache=True, fastmath={'contract'})
def _scan_rows(s, i0, j0, begin, end, scale, offset, distances, indices):
    """Offer columns of the block to the lists of its rows [begin, end)."""
    width = s.shape[1]
    k = distances.shape[1]
    for r in range(begin, end):
        i = i0 + r
        two, off = np.float32(2) * scale[i], offset[i]
        worst = distances[i, k - 1]
        for c0 in range(0, width, _LANES):
            c1 = min(c0 + _LANES, width)
            part = s[r, c0:c1]
            scales, offsets = scale[j0 + c0 : j0 + c1], offset[j0 + c0 : j0 + c1]
            if _count_below(part, two, off, scales, offsets, worst) == 0:
                continue
            for c in range(c1 - c0):
                d = offsets[c] + off - two * scales[c] * part[c]
                j = j0 + c0 + c
                if d < worst and i != j:
                    insert_neighbour(distances[i], indices[i], max(d, np.float32(0)), j)
                    worst = distances[i, k - 1]


@nb.njit(nogil=True, cache=True, fastmath={'contract'})
def _scan_columns(s, i0, j0, begin, end, scale, offset, distances, indices, worst):
    """Offer rows of the block to the lists of its columns [begin, end)."""
    k = distances.shape[1]
    for c in range(begin, end):
        worst[j0 + c] = distances[j0 + c, k - 1]
    for r in range(s.shape[0]):
        i = i0 + r
        two, off = np.float32(2) * scale[i], offset[i]
        for c0 in range(begin, end, _LANES):
            c1 = min(c0 + _LANES, end)
            part = s[r, c0:c1]
            scales, offsets = scale[j0 + c0 : j0 + c1], offset[j0 + c0 : j0 + c1]
            worsts = worst[j0 + c0 : j0 + c1]
            if _count_below_each(part, two, off, scales, offsets, worsts) == 0:
                continue
            for c in range(c1 - c0):
                d = offsets[c] + off - two * scales[c] * part[c]
                if d < worsts[c]:
                    j = j0 + c0 + c
                    insert_neighbour(distances[j], indices[j], max(d, np.float32(0)), i)
                    worsts[c] = distances[j, k - 1]


def symmetric_search(
    features: Features, k: int, block: int = 2048
) -> tuple[np.ndarray, np.ndarray]:
    """The k nearest *other* rows of every row, exactly.

    Args:
        features (Features): N rows.
        k (int): Number of neighbours, itself not counted; 1 <= k < N.
        block (int): Rows in a block of products. Defaults to 2048 (16 MiB of
            products).

    Returns:
        tuple[np.ndarray, np.ndarray]: Squared distances (N, k) float32,
        ascending, and indices (N, k) int32; of equally distant rows the one
        with the smaller index comes first.
    """
    n = len(features)
    scale, offset = features.scale, features.offset
    distances = np.full((n, k), np.inf, np.float32)
    indices = np.full((n, k), -1, np.int32)
    worst = np.empty(n, np.float32)
    block = min(block, n)
    buffer = np.empty((block, block), np.float32)
    threads = num_threads()
    progress = Progress('Exact neighbours', n * (n + 1) / 2)
    with ThreadPoolExecutor(threads) as pool:
        # Blocks go from small to large indices, so that candidates reach every
        # list in ascending order and a strict comparison breaks ties rightly.
        for i0 in range(0, n, block):
            rows = features.x[i0 : i0 + block]
            for j0 in range(i0, n, block):
                columns = features.x[j0 : j0 + block]
                s = buffer[: len(rows), : len(columns)]
                np.matmul(rows, columns.T, out=s)
                args = (scale, offset, distances, indices)
                jobs = [
                    pool.submit(_scan_rows, s, i0, j0, a, b, *args)
                    for a, b in _split(len(rows), threads)
                ]
                if j0 > i0:
                    jobs += [
                        pool.submit(_scan_columns, s, i0, j0, a, b, *args, worst)
                        for a, b in _split(len(columns), threads)
                    ]
                for job in jobs:
                    job.result()
                progress.update(s.size if j0 > i0 else s.size / 2)
    return distances, indices


def _split(length: int, parts: int) -> list[tuple[int, int]]:
    step = -(-length // parts)
    return [(a, min(a + step, length)) for a in range(0, length, step)]
