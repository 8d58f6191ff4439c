# SPDX-License-Identifier: Apache-2.0
"""Backbones that mmpretrain does not have."""

from .ibn_resnet import IBNResNet, InstanceBatchNorm

__all__ = ['IBNResNet', 'InstanceBatchNorm']
