# SPDX-License-Identifier: Apache-2.0
"""Hooks."""

from .position_seed_hook import PositionSeedHook
from .pseudo_label_hook import PseudoLabelHook

__all__ = ['PositionSeedHook', 'PseudoLabelHook']
