# SPDX-License-Identifier: Apache-2.0
"""Bringing labels into one form."""

import numpy as np


def by_first_member(labels: np.ndarray, min_size: int = 1) -> np.ndarray:
    """Number clusters 0, 1, ... in the order of their first members.

    Args:
        labels (np.ndarray): (N,) integers, negative for outliers.
        min_size (int): Members of smaller clusters become outliers. Defaults to
            1.

    Returns:
        np.ndarray: (N,) int64, -1 for outliers.
    """
    labels = np.asarray(labels)
    kept = np.flatnonzero(labels >= 0)
    out = np.full(len(labels), -1, np.int64)
    values, first, inverse, counts = np.unique(
        labels[kept], return_index=True, return_inverse=True, return_counts=True
    )
    large = np.flatnonzero(counts >= min_size)
    number = np.full(len(values), -1, np.int64)
    number[large[np.argsort(first[large])]] = np.arange(len(large))
    out[kept] = number[inverse]
    return out
