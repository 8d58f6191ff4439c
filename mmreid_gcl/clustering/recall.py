# SPDX-License-Identifier: Apache-2.0
"""Recall of an approximate neighbour search."""

import numpy as np
from mmengine.logging import print_log

from .features import Features

_CHUNK = 16384


def true_neighbours(
    features: Features, k: int, sample: int, seed: int = 0, among: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Random rows (m,) and their k nearest other rows (m, k), in no order.

    They are drawn from all rows, or the first ``among``.
    """
    n = len(features)
    among = n if among is None else among
    rows = np.random.default_rng(seed).choice(among, min(sample, among), replace=False)
    queries = features.rows(rows)
    best_d = np.full((len(rows), k), np.inf, np.float32)
    best_i = np.full((len(rows), k), -1, np.int64)
    for start in range(0, n, _CHUNK):
        part = slice(start, min(start + _CHUNK, n))
        d2 = features.offset[part] - 2 * (queries @ features.rows(part).T)
        own = (rows >= start) & (rows < part.stop)
        d2[own, rows[own] - start] = np.inf
        found = np.argpartition(d2, min(k, d2.shape[1]) - 1, axis=1)[:, :k]
        all_d = np.concatenate([best_d, np.take_along_axis(d2, found, 1)], 1)
        all_i = np.concatenate([best_i, found + start], 1)
        keep = np.argpartition(all_d, k - 1, axis=1)[:, :k]
        best_d = np.take_along_axis(all_d, keep, 1)
        best_i = np.take_along_axis(all_i, keep, 1)
    return rows, best_i


def measure_recall(
    features: Features, indices: np.ndarray, sample: int, seed: int = 0
) -> float:
    """Share of the true nearest neighbours that ``indices`` hold, in [0, 1].

    They are (N, k), or (n, k) of the first n rows.
    """
    rows, truth = true_neighbours(
        features, indices.shape[1], sample, seed, among=len(indices)
    )
    hits = sum(len(np.intersect1d(a, b)) for a, b in zip(truth, indices[rows]))
    return hits / truth.size


def log_recall(
    features: Features, indices: np.ndarray, sample: int, seed: int, name: str
) -> None:
    """Measure recall on a sample and log it; nothing with ``sample=0``."""
    if sample:
        recall = measure_recall(features, indices, sample, seed)
        print_log(
            f'{name}: recall@{indices.shape[1]} = {recall:.4f} on '
            f'{min(sample, len(indices))} random rows (without the rows themselves)',
            logger='current',
        )
