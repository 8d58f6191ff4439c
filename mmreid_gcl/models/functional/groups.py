# SPDX-License-Identifier: Apache-2.0
"""Statistics of the groups that equal labels form inside a batch.

All operations have fixed shapes, (Q, Q) for Q queries: nothing depends on how
many groups there are, so nothing waits for the device.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor


def same_group(labels: Tensor) -> Tensor:
    """Which queries share a label.

    Args:
        labels (Tensor): (Q,) integer labels.

    Returns:
        Tensor: (Q, Q) bool.
    """
    return labels[:, None] == labels[None, :]


def rank_in_group(keys: Tensor, labels: Tensor) -> Tensor:
    """The place of each query among those of its label, smallest key first.

    Args:
        keys (Tensor): (Q,) what to rank by. Equal keys rank by position.
        labels (Tensor): (Q,) integer labels.

    Returns:
        Tensor: (Q,) int64, 0 for the smallest key of a group.
    """
    row, column = keys[:, None], keys[None, :]
    mask = _earlier if torch.compiler.is_compiling() else _kept_earlier
    earlier = mask(len(keys), keys.device)
    before = torch.where(earlier, column <= row, column < row)
    return (before & same_group(labels)).sum(dim=1)


def _earlier(count: int, device: torch.device) -> Tensor:
    """(Q, Q) whether the column comes before the row."""
    return torch.ones(count, count, dtype=torch.bool, device=device).tril(-1)


#: It is the same in every step.
_kept_earlier = lru_cache(maxsize=4)(_earlier)


def smallest_in_group(
    keys: Tensor, labels: Tensor, count: int
) -> tuple[Tensor, Tensor]:
    """The queries of each query's label with the smallest keys, in their order.

    Args:
        keys (Tensor): (Q,) finite numbers to rank by. Equal ones go by position.
        labels (Tensor): (Q,) integer labels.
        count (int): k.

    Returns:
        tuple[Tensor, Tensor]: (Q, min(k, Q)) int64 queries, the same in all rows of a
        label, and (Q, min(k, Q)) bool, False where the label has no such query.
    """
    candidates = torch.where(same_group(labels), keys[None, :], torch.inf)
    values, queries = candidates.sort(dim=1, stable=True)
    return queries[:, :count], values[:, :count] < torch.inf


def mean_in_group(x: Tensor, labels: Tensor) -> Tensor:
    """The mean of each query's group.

    Args:
        x (Tensor): (Q, C).
        labels (Tensor): (Q,) integer labels.

    Returns:
        Tensor: (Q, C); rows of one label are equal.
    """
    member = same_group(labels).to(x.dtype)
    return member @ x / member.sum(dim=1, keepdim=True)
