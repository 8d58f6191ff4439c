# SPDX-License-Identifier: Apache-2.0
"""Batch norm over sub-batches of a fixed number of images."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class SubBatchNorm2d(nn.BatchNorm2d):
    """Batch norm that sees ``samples`` images at a time, as one of several GPUs does.

    Public results hang on the number of GPUs that share a batch, through the
    statistics of the backbone's batch norm. In training, images 0..samples-1 are
    normalised together, then the next ones, and so on. The running statistics move
    towards the mean of the sub-batches' statistics, which is what averaging those of
    several processes gives.

    Args:
        num_features (int): C.
        samples (int): Images of a sub-batch.
        **kwargs: As of ``nn.BatchNorm2d``.
    """

    def __init__(self, num_features: int, samples: int, **kwargs) -> None:
        super().__init__(num_features, **kwargs)
        self.samples = samples

    def forward(self, x: Tensor) -> Tensor:
        """(n, C, H, W) to the same; in training n is a multiple of ``samples``."""
        if not self.training or len(x) == self.samples:
            return super().forward(x)
        groups, rest = divmod(len(x), self.samples)
        if rest:
            raise ValueError(
                f'samples_per_bn={self.samples}, but a process has {len(x)} images of '
                'the batch, which is no multiple of it.'
            )
        channels, size = x.shape[1], x.shape[2:]
        # groups side by side as channels: one call normalises each on its own
        beside = x.view(groups, self.samples, channels, *size).transpose(0, 1)
        beside = beside.reshape(self.samples, groups * channels, *size)
        mean = x.new_zeros(groups * channels, dtype=self.running_mean.dtype)
        var = torch.zeros_like(mean)
        out = F.batch_norm(
            *(beside, mean, var, self.weight.repeat(groups), self.bias.repeat(groups)),
            training=True,
            momentum=1.0,  # mean and var are then those of this batch
            eps=self.eps,
        )
        with torch.no_grad():
            self.num_batches_tracked += 1
            for running, own in ((self.running_mean, mean), (self.running_var, var)):
                running.lerp_(own.view(groups, channels).mean(dim=0), self.momentum)
        out = out.view(self.samples, groups, channels, *size).transpose(0, 1)
        return out.reshape(x.shape)


def use_sub_batches(module: nn.Module, samples: int) -> nn.Module:
    """Replace every ``BatchNorm2d`` of a network by one over sub-batches.

    Args:
        module (nn.Module): Changed in place; weights and statistics stay.
        samples (int): Images of a sub-batch, at least 1.

    Returns:
        nn.Module: The network.

    Raises:
        ValueError: If ``samples`` is below 1, or there is no such layer.
    """
    if samples < 1:
        raise ValueError(f'samples_per_bn must be at least 1, got {samples}.')
    found = False
    for parent in list(module.modules()):
        for name, child in parent.named_children():
            if type(child) is nn.BatchNorm2d and child.affine and child.momentum:
                found = True
                norm = SubBatchNorm2d(
                    child.num_features, samples, eps=child.eps, momentum=child.momentum
                )
                norm.weight, norm.bias = child.weight, child.bias
                norm._buffers = child._buffers
                norm.training = child.training
                setattr(parent, name, norm)
    if not found:
        raise ValueError('samples_per_bn: the backbone has no BatchNorm2d to replace.')
    return module
