# SPDX-License-Identifier: Apache-2.0
"""Access to the model inside the wrapper for several processes."""

from __future__ import annotations

from typing import Any

from mmengine.model import is_model_wrapper
from torch import nn


def unwrapped(model: nn.Module) -> Any:
    """The model inside ``MMDistributedDataParallel`` and its like, or itself.

    Args:
        model (nn.Module): ``runner.model``.

    Returns:
        nn.Module: With the attributes of its own class.
    """
    return model.module if is_model_wrapper(model) else model
