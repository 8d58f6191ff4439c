# SPDX-License-Identifier: Apache-2.0
"""Self-search that computes every product once.

In a search of all rows among themselves the distance of (i, j) is the distance
of (j, i). A block of products of rows I with rows J > I therefore serves the
rows of I (read along its rows) and those of J (read along its columns): half
the products of a general search, which are nearly all of its time.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np

from mmreid_gcl.compiled import jit
from mmreid_gcl.parallel import Progress, num_threads

from .features import Features

_LANES = 64


@jit(inline='always')
def _before(distance, index, other_distance, other_index):
    """Whether a neighbour stands before another one: by distance, then index."""
    return distance < other_distance or (
        distance == other_distance and index < other_index
    )


@jit
def _insert(distances, indices, distance, index):
    """Insert into one sorted list; its last entry falls out."""
    p = len(distances) - 1
    while p > 0 and _before(distance, index, distances[p - 1], indices[p - 1]):
        distances[p] = distances[p - 1]
        indices[p] = indices[p - 1]
        p -= 1
    distances[p] = distance
    indices[p] = index


@jit(fastmath={'contract'}, inline='always')
def _squared(two, off, product, scale, offset):
    return offset + off - two * scale * np.float32(product)


# The two counts run over whole slices from 0: only such loops become vector code.


@jit(fastmath={'contract'})
def _count_within(products, two, off, scale, offset, worst):
    hits = np.int32(0)
    for c in range(products.shape[0]):
        d = _squared(two, off, products[c], scale[c], offset[c])
        hits += np.int32(d <= worst)
    return hits


@jit(fastmath={'contract'})
def _count_within_each(products, two, off, scale, offset, worst):
    hits = np.int32(0)
    for c in range(products.shape[0]):
        d = _squared(two, off, products[c], scale[c], offset[c])
        hits += np.int32(d <= worst[c])
    return hits


@jit(fastmath={'contract'})
def _bound_rows(s, i0, j0, begin, end, scale, offset, distances):
    """Start lists with a distance that no neighbour can be beyond.

    Without it the first columns would nearly all be inserted and fall out again.
    """
    k = distances.shape[1]
    width = min(s.shape[1], 16 * k)  # more costs more than it saves
    row = np.empty(width, np.float32)
    for r in range(begin, end):
        i = i0 + r
        two, off = np.float32(2) * scale[i], offset[i]
        for c in range(width):
            row[c] = _squared(two, off, s[r, c], scale[j0 + c], offset[j0 + c])
        # the k + 1 smallest may count the row itself
        bound = np.partition(row, k)[k]
        distances[i, :] = np.nextafter(max(bound, np.float32(0)), np.float32(np.inf))


@jit(fastmath={'contract'})
def scan_rows(s, i0, j0, begin, end, scale, offset, distances, indices):
    """Offer columns of a block of products to the lists of its rows.

    ``s`` has products of rows ``i0``... with rows ``j0``...; rows ``begin`` to ``end``
    of it are worked on. ``distances`` and ``indices``, (N, k), are sorted lists,
    changed.
    """
    width = s.shape[1]
    k = distances.shape[1]
    zero = np.float32(0)
    place = np.empty(_LANES, np.int32)
    for r in range(begin, end):
        i = i0 + r
        two, off = np.float32(2) * scale[i], offset[i]
        worst = distances[i, k - 1]
        for c0 in range(0, width, _LANES):
            c1 = min(c0 + _LANES, width)
            part = s[r, c0:c1]
            scales, offsets = scale[j0 + c0 : j0 + c1], offset[j0 + c0 : j0 + c1]
            if _count_within(part, two, off, scales, offsets, worst) == 0:
                continue
            found = 0
            for c in range(c1 - c0):
                place[found] = c
                d = _squared(two, off, part[c], scales[c], offsets[c])
                found += d <= worst
            for f in range(found):
                c = place[f]
                j = j0 + c0 + c
                d = _squared(two, off, part[c], scales[c], offsets[c])
                d = max(d, zero)
                if i != j and _before(d, j, worst, indices[i, k - 1]):
                    _insert(distances[i], indices[i], d, j)
                    worst = distances[i, k - 1]


@jit(fastmath={'contract'})
def scan_columns(s, i0, j0, begin, end, scale, offset, distances, indices, worst):
    """Offer rows of a block to the lists of its columns, as :func:`scan_rows`.

    ``worst`` (N,) is scratch: the ends of the lists side by side.
    """
    k = distances.shape[1]
    zero = np.float32(0)
    place = np.empty(_LANES, np.int32)
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
            if _count_within_each(part, two, off, scales, offsets, worsts) == 0:
                continue
            found = 0
            for c in range(c1 - c0):
                place[found] = c
                d = _squared(two, off, part[c], scales[c], offsets[c])
                found += d <= worsts[c]
            for f in range(found):
                c = place[f]
                j = j0 + c0 + c
                d = _squared(two, off, part[c], scales[c], offsets[c])
                d = max(d, zero)
                if _before(d, i, worsts[c], indices[j, k - 1]):
                    _insert(distances[j], indices[j], d, i)
                    worsts[c] = distances[j, k - 1]


def split(length: int, parts: int) -> list[tuple[int, int]]:
    """Ranges that cover ``range(length)``, at most ``parts`` of them."""
    step = -(-length // parts)
    return [(a, min(a + step, length)) for a in range(0, length, step)]


def sweep(
    products: Callable,
    scale: np.ndarray,
    offset: np.ndarray,
    k: int,
    block: int,
    name: str,
) -> tuple[np.ndarray, np.ndarray]:
    """Every block of products once, offered to the lists of both its sides.

    ``products(i0, i1, j0, j1)`` gives <x_i, x_j> of two ranges of rows, float32 or
    int32, in an array that may be reused. ``scale`` and ``offset`` are of
    :class:`Features`. Returns the same as :func:`symmetric_search`.
    """
    n = len(scale)
    block = min(n, max(block, k + 1))
    distances = np.full((n, k), np.inf, np.float32)
    indices = np.full((n, k), n, np.int32)
    worst = np.empty(n, np.float32)
    threads = num_threads()
    progress = Progress(name, n * (n + 1) / 2)
    starts = list(range(0, n, block))
    # The diagonal first: it gives every list a good bound.
    pairs = [(i0, i0) for i0 in starts]
    pairs += [(i0, j0) for i0 in starts for j0 in starts if j0 > i0]
    with ThreadPoolExecutor(threads) as pool:

        def run(kernel, length, *args, behind=()):
            jobs = [
                pool.submit(partial(kernel, *args[:3], a, b, *args[3:], *behind))
                for a, b in split(length, threads)
            ]
            for job in jobs:
                job.result()

        for i0, j0 in pairs:
            s = products(i0, min(i0 + block, n), j0, min(j0 + block, n))
            if i0 == j0 and s.shape[1] > k:
                run(_bound_rows, s.shape[0], s, i0, j0, scale, offset, distances)
            args = (s, i0, j0, scale, offset, distances, indices)
            run(scan_rows, s.shape[0], *args)
            if j0 > i0:
                run(scan_columns, s.shape[1], *args, behind=(worst,))
            progress.update(s.size if j0 > i0 else s.size / 2)
    return distances, indices


def symmetric_search(
    features: Features, k: int, block: int = 2048
) -> tuple[np.ndarray, np.ndarray]:
    """The k nearest *other* rows of every row, exactly.

    Of equally distant rows the one with the smaller index comes first. The default
    block is 16 MiB of products.
    """
    x = features.x
    side = min(len(x), max(block, k + 1))
    buffer = np.empty((side, side), np.float32)

    def products(i0, i1, j0, j1):
        return np.matmul(x[i0:i1], x[j0:j1].T, out=buffer[: i1 - i0, : j1 - j0])

    return sweep(
        products, features.scale, features.offset, k, block, 'Exact neighbours'
    )
