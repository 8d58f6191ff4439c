# SPDX-License-Identifier: Apache-2.0
"""Base class of necks whose batch norm already sees the global batch."""

from __future__ import annotations

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


class KeepsOwnNorm(nn.Module):
    """A module whose batch norm the config's ``sync_bn`` leaves alone.

    Features are gathered over the ranks before the necks, so their batch norm
    needs no synchronisation; converting it would count each image once a rank.
    """

    def add_module(self, name: str, module: nn.Module | None) -> None:
        """Register a child, unless it would replace a batch norm."""
        present = self._modules.get(name)
        if isinstance(present, _BatchNorm) and module is not present:
            return
        super().add_module(name, module)
