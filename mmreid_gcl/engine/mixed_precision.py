# SPDX-License-Identifier: Apache-2.0
"""Mixed precision on any device."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from mmengine.device import get_device
from mmengine.optim import AmpOptimWrapper, OptimWrapper
from torch import nn

from mmreid_gcl.registry import OPTIM_WRAPPERS

_DTYPES = {'float16': torch.float16, 'bfloat16': torch.bfloat16}


@OPTIM_WRAPPERS.register_module()
class MixedPrecisionOptimWrapper(AmpOptimWrapper):
    """mmengine's ``AmpOptimWrapper``, on a CPU too.

    The forward pass runs under autocast; weights, gradients and the optimiser
    stay float32, as do the losses, the memories and all of clustering
    (docs/precision.md). With float16 the loss is scaled, with bfloat16, whose
    range is that of float32, it need not be.

    Args:
        dtype (str, optional): 'float16' or 'bfloat16'. Defaults to float16 on a
            GPU, as in mmengine, and to bfloat16 on a CPU.
        loss_scale (str | float | dict): 'dynamic', a fixed scale, or arguments of
            torch's ``GradScaler``; of float16 alone. Defaults to 'dynamic'.
        **kwargs: ``optimizer``, ``accumulative_counts`` and ``clip_grad`` of
            mmengine's ``OptimWrapper``.

    Raises:
        ValueError: If ``dtype`` or ``loss_scale`` is none of these.
    """

    def __init__(
        self,
        dtype: str | None = None,
        loss_scale: str | float | dict = 'dynamic',
        **kwargs,
    ) -> None:
        self.device_type = torch.device(get_device()).type
        if dtype is None:
            dtype = 'bfloat16' if self.device_type == 'cpu' else 'float16'
        if dtype not in _DTYPES:
            raise ValueError(f'dtype must be one of {tuple(_DTYPES)}, got {dtype!r}.')
        if loss_scale == 'dynamic':
            scale = {}
        elif isinstance(loss_scale, (int, float)):
            scale = dict(init_scale=float(loss_scale))
        elif isinstance(loss_scale, dict):
            scale = loss_scale
        else:
            raise ValueError(
                "loss_scale must be 'dynamic', a number or arguments of GradScaler, "
                f'got {loss_scale!r}.'
            )
        # not of AmpOptimWrapper, which refuses to be on a CPU
        OptimWrapper.__init__(self, **kwargs)
        self.cast_dtype = _DTYPES[dtype]
        self.loss_scaler = torch.amp.GradScaler(
            self.device_type, enabled=self.cast_dtype == torch.float16, **scale
        )
        self._scale_update_param = (
            float(loss_scale) if isinstance(loss_scale, (int, float)) else None
        )

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """The forward pass: under autocast, and as in mmengine's wrapper."""
        with (
            OptimWrapper.optim_context(self, model),
            torch.autocast(self.device_type, self.cast_dtype),
        ):
            yield
