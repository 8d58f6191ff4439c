# SPDX-License-Identifier: Apache-2.0
"""Open-set identification: queries of people who may not be in the gallery.

As in ISO/IEC 19795-1 and Grother and Ngan (FRVT): a query without a match whose best
similarity reaches the threshold is a false alarm; one with a match counts as identified
if a match is first and reaches the threshold.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from .ground_truth import match_positions

#: Shares of false alarms at which rates are reported by default.
FALSE_ALARMS = (0.01, 0.001)


def identification_rates(
    found: np.ndarray, alarms: np.ndarray, false_alarms: Sequence[float] = FALSE_ALARMS
) -> dict[str, float]:
    """Detection and identification rates (DIR) at given shares of false alarms.

    Args:
        found (np.ndarray): (Q,) best similarities of the queries with a match, -inf
            where no match is first.
        alarms (np.ndarray): (U,) best similarities of the queries without a match.
        false_alarms (Sequence[float]): Shares of these that may reach the threshold,
            0 to 1; at most so many do. Defaults to 1 % and 0.1 %.

    Returns:
        dict[str, float]: ``DIR@1%`` and so on, in percent.

    Raises:
        ValueError: If either kind of query is missing or a share is out of its range.
    """
    if any(not 0 <= share <= 1 for share in false_alarms):
        raise ValueError(f'false_alarms must be 0 to 1, got {tuple(false_alarms)}.')
    if not len(found) or not len(alarms):
        raise ValueError(
            f'Open-set rates need queries with and without a match, got {len(found)} '
            f'and {len(alarms)}. Put people into the query that are not in the gallery '
            '(with a pid of their own, not -1), or leave open_set out.'
        )
    falling = np.sort(alarms)[::-1]
    rates = {}
    for share in false_alarms:
        # 1e-9: 0.29 * 100 is a little less than 29
        allowed = int(share * len(falling) + 1e-9)
        beyond = falling[allowed] if allowed < len(falling) else -np.inf
        rates[f'DIR@{100 * share:g}%'] = 100 * float((found > beyond).mean())
    return rates


def best_match(
    similarity: np.ndarray | Tensor, order: np.ndarray, bounds: np.ndarray
) -> np.ndarray:
    """(n,) similarities of the best match of each query, all of which have one.

    ``similarity`` is (n, G); ``order`` and ``bounds`` are of an ``IdentityIndex``.
    """
    rows, columns = match_positions(order, bounds)
    begins = np.flatnonzero(np.diff(rows, prepend=-1))
    return np.maximum.reduceat(_take(similarity, rows, columns), begins)


def best_valid(
    similarity: np.ndarray | Tensor, order: np.ndarray, bounds: np.ndarray
) -> np.ndarray:
    """(n,) best similarities without the ignored images; -inf if there is no other."""
    rows, columns = match_positions(order, bounds, ignored=True)
    if isinstance(similarity, Tensor):
        similarity = similarity.detach().float().cpu().numpy()
    similarity = np.array(similarity)  # a copy
    similarity[rows, columns] = -np.inf
    return similarity.max(axis=1)


def _take(similarity: np.ndarray | Tensor, rows, columns) -> np.ndarray:
    values = similarity[rows, columns]
    return (
        values.detach().float().cpu().numpy() if isinstance(values, Tensor) else values
    )
