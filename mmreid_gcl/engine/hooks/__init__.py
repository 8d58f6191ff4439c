# SPDX-License-Identifier: Apache-2.0
"""Hooks."""

from .atomic_checkpoint_hook import AtomicCheckpointHook
from .finite_loss_hook import FiniteLossHook
from .position_hook import PositionHook
from .position_seed_hook import PositionSeedHook
from .pseudo_label_hook import PseudoLabelHook

__all__ = [
    'AtomicCheckpointHook',
    'FiniteLossHook',
    'PositionHook',
    'PositionSeedHook',
    'PseudoLabelHook',
]
