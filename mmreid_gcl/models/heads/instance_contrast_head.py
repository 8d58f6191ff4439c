# SPDX-License-Identifier: Apache-2.0
"""Contrast among the instances of a batch (ICE)."""

from __future__ import annotations

from torch import Tensor, nn

from mmreid_gcl.registry import MODELS

from ..batch import BatchImages
from ..functional.contrastive import hard_instance_loss


@MODELS.register_module()
class InstanceContrastHead(nn.Module):
    """Contrast with the hardest positive of the batch, beside a head with centroids.

    See :func:`~mmreid_gcl.models.functional.contrastive.hard_instance_loss`. It has no
    memory, so it stands beside a head that has one: ``head=[dict(...), dict(...)]``.

    Args:
        temperature (float): Defaults to 0.1.
        feature (str): Which features it works on. Defaults to 'embedding'.
        loss_weight (float): Factor of the loss. Defaults to 1.

    Raises:
        ValueError: If ``temperature`` is not positive.
    """

    def __init__(
        self,
        temperature: float = 0.1,
        feature: str = 'embedding',
        loss_weight: float = 1.0,
    ) -> None:
        super().__init__()
        if temperature <= 0:
            raise ValueError(f'temperature must be positive, got {temperature}.')
        self.temperature = temperature
        self.feature = feature
        self.loss_weight = loss_weight

    def loss(
        self, features: Tensor, labels: Tensor, images: BatchImages | None = None
    ) -> dict[str, Tensor]:
        """``loss_instance`` of (Q, C) features and (Q,) pseudo-labels."""
        loss = hard_instance_loss(features, labels, self.temperature)
        return dict(loss_instance=self.loss_weight * loss)
