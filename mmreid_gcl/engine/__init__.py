# SPDX-License-Identifier: Apache-2.0
"""Where training meets clustering."""

from .extraction import extract_features
from .hooks import PositionSeedHook, PseudoLabelHook

__all__ = ['PositionSeedHook', 'PseudoLabelHook', 'extract_features']
