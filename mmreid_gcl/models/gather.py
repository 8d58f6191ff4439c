# SPDX-License-Identifier: Apache-2.0
"""The global batch on every rank, with gradient."""

from __future__ import annotations

import torch
from mmengine import dist
from torch import Tensor


class _GatherWithGrad(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        ctx.rows = len(x)
        return torch.cat(dist.all_gather(x.contiguous()))

    @staticmethod
    def backward(ctx, grad: Tensor) -> Tensor:
        # Every rank computes the same loss of the same gathered batch, so the
        # gradient that reaches here is the same everywhere: no communication.
        # DDP then averages over ranks; the factor makes that average the sum.
        start = dist.get_rank() * ctx.rows
        return grad[start : start + ctx.rows] * dist.get_world_size()


def gather_batch(x: Tensor) -> Tensor:
    """Concatenate the ranks' parts of a batch, in the order of the ranks.

    The gradient is right for a loss that every rank computes alike from the
    gathered batch and for ``DistributedDataParallel``, which averages the
    gradients of the ranks. With one process the input comes back.

    Args:
        x (Tensor): (n, ...) this rank's part; n is equal on all ranks.

    Returns:
        Tensor: (n * world size, ...).
    """
    if dist.get_world_size() == 1:
        return x
    return _GatherWithGrad.apply(x)
