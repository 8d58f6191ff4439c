# SPDX-License-Identifier: Apache-2.0
"""Operations that stay float32 under autocast, and scaling to unit length."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def at_least_float32(x: Tensor) -> Tensor:
    """Raise half precision to float32; leave float32 and float64 alone."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def no_autocast(x: Tensor) -> torch.autocast:
    """A context in which autocast does not lower the precision of products.

    Args:
        x (Tensor): Any tensor on the device of the computation.
    """
    return torch.autocast(x.device.type, enabled=False)


def unit_length(x: Tensor) -> Tensor:
    """Rows of unit length, as ``F.normalize(x)``, in float32 or wider.

    Its backward pass is four operations where that of ``F.normalize`` is a dozen:
    on a GPU a batch is so small that each costs its launch.

    Args:
        x (Tensor): (n, C). A row of zeros stays one.

    Returns:
        Tensor: (n, C), float32 if ``x`` is in half precision.
    """
    x = at_least_float32(x)
    if x.requires_grad and torch.is_grad_enabled():
        return _UnitLength.apply(x)[0]
    return F.normalize(x)


class _UnitLength(torch.autograd.Function):
    @staticmethod
    def forward(x: Tensor) -> tuple[Tensor, Tensor]:
        length = torch.linalg.vector_norm(x, dim=1, keepdim=True).clamp_min(1e-12)
        return x / length, length

    @staticmethod
    def setup_context(ctx, inputs: tuple, output: tuple[Tensor, Tensor]) -> None:
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*output)

    @staticmethod
    def backward(ctx, grad: Tensor | None, grad_length: Tensor | None) -> Tensor:
        unit, length = ctx.saved_tensors
        out = None
        if grad is not None:  # what is along the row does not change its direction
            along = (grad * unit).sum(dim=1, keepdim=True)
            out = torch.addcmul(grad, unit, along, value=-1) / length
        if grad_length is not None:  # of a second derivative alone
            out = grad_length * unit if out is None else out + grad_length * unit
        return out
