# SPDX-License-Identifier: Apache-2.0
"""Ranks of the matches in a chunk of similarities, on CPU or another device.

A rank is 1 + the number of valid gallery images that are more similar + the
number of equally similar ones with a smaller gallery index. Only matches need
one, and a query has few of them: counting beats sorting the whole row.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from mmreid_gcl.parallel import num_threads

from ._rank_kernels import rank_rows
from .ground_truth import match_positions, num_matches


def match_ranks(
    similarity: np.ndarray | Tensor, order: np.ndarray, bounds: np.ndarray
) -> np.ndarray:
    """Ranks of all matches of n queries, int64, query by query, not sorted.

    Of ``similarity`` (n, G) without NaN, arrays and CPU tensors are counted by all
    cores, tensors elsewhere on their device. ``order`` and ``bounds`` are of an
    ``IdentityIndex``.
    """
    if isinstance(similarity, Tensor) and similarity.device.type != 'cpu':
        return _count_by_torch(similarity, order, bounds)
    if isinstance(similarity, Tensor):
        similarity = similarity.detach()
        if similarity.dtype == torch.bfloat16:
            similarity = similarity.float()
        similarity = similarity.numpy()
    return _count_by_numba(similarity, order, bounds)


def _count_by_numba(
    similarity: np.ndarray, order: np.ndarray, bounds: np.ndarray
) -> np.ndarray:
    # Widening keeps order and ties.
    exact = similarity.dtype in (np.float16, np.float32)
    similarity = np.ascontiguousarray(similarity, np.float32 if exact else np.float64)
    matches = num_matches(bounds)
    offsets = np.cumsum(matches) - matches
    ranks = np.empty(matches.sum(), np.int64)
    # Threads over a kernel without the GIL: unlike numba's own parallel loops
    # they may be used from several threads at once and after a fork.
    threads = max(1, min(num_threads(), len(similarity)))
    shared = similarity, order, bounds, offsets, ranks
    with ThreadPoolExecutor(threads) as pool:
        jobs = [pool.submit(rank_rows, *shared, i, threads) for i in range(threads)]
        for job in jobs:
            job.result()
    return ranks


def _count_by_torch(
    similarity: Tensor, order: np.ndarray, bounds: np.ndarray
) -> np.ndarray:
    """The same by comparisons on the similarity's device.

    Slot by slot, the s-th match of every query at once. Sorting the queries by
    their number of matches keeps those that still have one at the front.
    """
    device = similarity.device
    matches = num_matches(bounds)
    by_matches = np.argsort(-matches, kind='stable')
    if not np.array_equal(by_matches, np.arange(len(matches))):
        similarity = similarity[torch.from_numpy(by_matches).to(device)]
        bounds, matches = bounds[by_matches], matches[by_matches]

    rows, columns = match_positions(order, bounds)
    offsets = np.cumsum(matches) - matches
    slots = np.arange(len(rows)) - offsets[rows]
    table = np.zeros((len(bounds), int(matches.max(initial=0))), np.int64)
    table[rows, slots] = columns
    table = torch.from_numpy(table).to(device)
    values = similarity.gather(1, table)
    ranks = torch.zeros_like(table)
    position = torch.arange(similarity.shape[1], device=device)
    for slot in range(table.shape[1]):
        active = int(np.count_nonzero(matches > slot))
        part = similarity[:active]
        value, index = values[:active, slot, None], table[:active, slot, None]
        before = part == value
        before &= position < index
        before |= part > value
        ranks[:active, slot] = before.sum(dim=1) + 1
    ranks -= _ignored_before(similarity, order, bounds, values, table)

    flat = ranks.cpu().numpy()[rows, slots]
    back = np.argsort(by_matches[rows], kind='stable')  # to the queries' order
    return flat[back]


def _ignored_before(
    similarity: Tensor,
    order: np.ndarray,
    bounds: np.ndarray,
    values: Tensor,
    table: Tensor,
) -> Tensor:
    """How many ignored images the count of each match took in, (n, slots)."""
    rows, columns = match_positions(order, bounds, ignored=True)
    result = torch.zeros_like(table)
    if not len(rows):
        return result
    rows = torch.from_numpy(rows).to(similarity.device)
    columns = torch.from_numpy(columns).to(similarity.device)[:, None]
    ignored = similarity[rows, columns[:, 0]][:, None]
    before = (ignored > values[rows]) | (
        (ignored == values[rows]) & (columns < table[rows])
    )
    return result.index_add_(0, rows, before.to(result.dtype))
