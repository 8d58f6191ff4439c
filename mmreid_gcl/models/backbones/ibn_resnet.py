# SPDX-License-Identifier: Apache-2.0
"""ResNet with instance normalisation in part of its channels."""

from __future__ import annotations

import torch
from mmpretrain.models import ResNet
from torch import Tensor, nn

from mmreid_gcl.registry import MODELS


class InstanceBatchNorm(nn.Module):
    """Half of the channels by instance norm, the others by batch norm.

    Pan et al., *Two at Once: Enhancing Learning and Generalization Capacities
    via IBN-Net*, ECCV 2018. The parts are called ``IN`` and ``BN``, as in the
    published weights.

    Args:
        channels (int): C; the first C // 2 get the instance norm.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.half = channels // 2
        self.IN = nn.InstanceNorm2d(self.half, affine=True)
        self.BN = nn.BatchNorm2d(channels - self.half)

    def forward(self, x: Tensor) -> Tensor:
        """(n, C, H, W) to the same."""
        first, rest = x.split([self.half, x.shape[1] - self.half], dim=1)
        return torch.cat([self.IN(first), self.BN(rest)], dim=1)


@MODELS.register_module()
class IBNResNet(ResNet):
    """IBN-ResNet-a: an :class:`InstanceBatchNorm` first in the blocks.

    Those of the last stage keep their batch norm.

    Args:
        depth (int): 50, 101 or 152.
        **kwargs: Of mmpretrain's ``ResNet``.

    Raises:
        ValueError: If ``depth`` is one without bottlenecks.
    """

    def __init__(self, depth: int, **kwargs) -> None:
        if depth not in (50, 101, 152):
            raise ValueError(
                f'IBNResNet: depth must be 50, 101 or 152, got {depth}; the shallow '
                'ones have other blocks.'
            )
        super().__init__(depth, **kwargs)
        for name in self.res_layers[:3]:
            for block in getattr(self, name):
                channels = block.norm1.num_features
                setattr(block, block.norm1_name, InstanceBatchNorm(channels))
