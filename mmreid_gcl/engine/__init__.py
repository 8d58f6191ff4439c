# SPDX-License-Identifier: Apache-2.0
"""Hooks, training loop and extraction."""

from .extraction import extract_features
from .hooks import (
    AtomicCheckpointHook,
    FiniteLossHook,
    LabelFreeBestHook,
    MemoryHook,
    PositionHook,
    PositionSeedHook,
    PseudoLabelHook,
    RampHook,
    TimeLeftHook,
    TrainingImagesHook,
)
from .loops import ResumableTrainLoop
from .mixed_precision import MixedPrecisionOptimWrapper
from .signals import EXIT_PREEMPTED, Preempted

__all__ = [
    'EXIT_PREEMPTED',
    'AtomicCheckpointHook',
    'FiniteLossHook',
    'LabelFreeBestHook',
    'MemoryHook',
    'MixedPrecisionOptimWrapper',
    'PositionHook',
    'PositionSeedHook',
    'Preempted',
    'PseudoLabelHook',
    'RampHook',
    'ResumableTrainLoop',
    'TimeLeftHook',
    'TrainingImagesHook',
    'extract_features',
]
