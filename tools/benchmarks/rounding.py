# SPDX-License-Identifier: Apache-2.0
"""A network in lower precision, computed on any machine."""

from __future__ import annotations

import torch
from torch import Tensor, nn

#: Bits of the mantissa that are stored; what autocast to each leaves its operands.
BITS = {'bfloat16': 7, 'float16': 10, 'TF32': 10}
_PRODUCTS = (nn.Conv2d, nn.Linear)


def rounded(x: Tensor, bits: int) -> Tensor:
    """float32 numbers to a shorter mantissa, ties to even; the range stays."""
    whole = x.contiguous().view(torch.int32)
    drop = 23 - bits
    odd = (whole >> drop) & 1
    whole = (whole + ((1 << (drop - 1)) - 1) + odd) >> drop << drop
    return whole.view(torch.float32)


def emulate(model: nn.Module, dtype: str) -> nn.Module:
    """Make the backbone round as autocast to ``dtype`` would on tensor cores.

    Products take rounded operands and sum in float32. With 'bfloat16' and
    'float16' what every layer gives is rounded too, with 'TF32' it is not.

    Args:
        model (nn.Module): With a ``backbone``. Changed in place.
        dtype (str): One of :data:`BITS`.

    Returns:
        nn.Module: The model.
    """
    bits = BITS[dtype]

    def shorten_inputs(module: nn.Module, inputs: tuple) -> tuple:
        return tuple(rounded(x, bits) for x in inputs)

    def shorten_outputs(module: nn.Module, inputs: tuple, output: Tensor) -> Tensor:
        return rounded(output, bits)

    for module in model.backbone.modules():
        if isinstance(module, _PRODUCTS):
            module.weight.data = rounded(module.weight.data, bits)
            module.register_forward_pre_hook(shorten_inputs)
        if dtype != 'TF32' and not list(module.children()):
            module.register_forward_hook(shorten_outputs)
    return model
