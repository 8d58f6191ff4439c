# SPDX-License-Identifier: Apache-2.0
"""The stride of a backbone's last stage."""

from __future__ import annotations

import torch
from torch import nn

from mmreid_gcl.eval_mode import evaluating

_STRIDED = (nn.Conv2d, nn.AvgPool2d, nn.MaxPool2d)


@torch.no_grad()
def set_last_stride(backbone: nn.Module, stride: int) -> nn.Module:
    """Give the layers that make the last reduction of the map another stride.

    Public re-identification code has stride 1 in the last stage of ResNet, which
    doubles height and width of the map. This does the same to a backbone of
    ``Conv2d``, ``AvgPool2d`` and ``MaxPool2d``: one image goes through it, and the
    layers that reduce the smallest map that is reduced are found. Weights keep their
    shape.

    Args:
        backbone (nn.Module): On any device; changed in place.
        stride (int): At least 1.

    Returns:
        nn.Module: The backbone.

    Raises:
        ValueError: If ``stride`` is below 1, the map is reduced in fewer than three
            places, as by the patch embedding of a transformer, or the last stage has
            stride 1 already.
    """
    if stride < 1:
        raise ValueError(f'last_stride must be at least 1, got {stride}.')
    heights: dict[nn.Module, int] = {}

    def note(layer: nn.Module, inputs: tuple, output: torch.Tensor) -> None:
        if output.shape[-1] < inputs[0].shape[-1] and _pair(layer.stride)[1] > 1:
            heights[layer] = inputs[0].shape[-2]

    layers = [module for module in backbone.modules() if isinstance(module, _STRIDED)]
    hooks = [layer.register_forward_hook(note) for layer in layers]
    weight = next(backbone.parameters())
    try:
        with evaluating(backbone):
            backbone(weight.new_zeros(1, 3, 256, 128))
    finally:
        for hook in hooks:
            hook.remove()
    if len(set(heights.values())) < 3:
        raise ValueError(
            f'last_stride: a {type(backbone).__name__} reduces its map in '
            f'{len(set(heights.values()))} places, so it has no last stage to change. '
            'Leave last_stride out.'
        )
    last = min(heights.values())
    if last > 16 and stride == 1:  # of 256 rows
        raise ValueError(
            f'last_stride=1: the {type(backbone).__name__} ends with a map of '
            f'{-(-last // 2)} rows for an image of 256, so its last stage has stride 1 '
            'already. Leave last_stride out.'
        )
    for layer, height in heights.items():
        if height == last:
            layer.stride = (stride, stride)
            if isinstance(layer, nn.AvgPool2d):  # a shortcut, as wide as its stride
                layer.kernel_size = (stride, stride)
    return backbone


def _pair(stride: int | tuple[int, int]) -> tuple[int, int]:
    return (stride, stride) if isinstance(stride, int) else stride
