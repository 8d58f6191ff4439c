# SPDX-License-Identifier: Apache-2.0
"""Precision: what must not run in half, whatever autocast says."""

from __future__ import annotations

import torch
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
