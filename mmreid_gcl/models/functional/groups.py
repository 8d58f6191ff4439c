# SPDX-License-Identifier: Apache-2.0
"""Statistics of the groups that equal labels form inside a batch.

All operations have fixed shapes, (Q, Q) for Q queries: nothing depends on how
many groups there are, so nothing waits for the device.
"""

from __future__ import annotations

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
    position = torch.arange(len(keys), device=keys.device)
    before = (keys[None, :] < keys[:, None]) | (
        (keys[None, :] == keys[:, None]) & (position[None, :] < position[:, None])
    )
    return (before & same_group(labels)).sum(dim=1)


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
