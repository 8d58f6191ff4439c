# SPDX-License-Identifier: Apache-2.0
"""Hooks."""

from .atomic_checkpoint_hook import AtomicCheckpointHook
from .finite_loss_hook import FiniteLossHook
from .label_free_best_hook import LabelFreeBestHook
from .memory_hook import MemoryHook
from .position_hook import PositionHook
from .position_seed_hook import PositionSeedHook
from .pseudo_label_hook import PseudoLabelHook
from .ramp_hook import RampHook
from .time_left_hook import TimeLeftHook
from .training_images_hook import TrainingImagesHook

__all__ = [
    'AtomicCheckpointHook',
    'FiniteLossHook',
    'LabelFreeBestHook',
    'MemoryHook',
    'PositionHook',
    'PositionSeedHook',
    'PseudoLabelHook',
    'RampHook',
    'TimeLeftHook',
    'TrainingImagesHook',
]
