# SPDX-License-Identifier: Apache-2.0
"""Contrast among the instances of a batch (ICE)."""

from __future__ import annotations

from torch import Tensor, nn

from mmreid_gcl.registry import MODELS

from ..batch import BatchImages
from ..functional.contrastive import hard_instance_loss, soft_consistency_loss


@MODELS.register_module()
class InstanceContrastHead(nn.Module):
    """Contrast with the hardest positive of the batch, beside a head with centroids.

    See :func:`~mmreid_gcl.models.functional.contrastive.hard_instance_loss`. It has no
    memory, so it stands beside a head that has one: ``head=[dict(...), dict(...)]``.

    Args:
        temperature (float): Defaults to 0.1.
        feature (str): Which features it works on. Defaults to 'embedding'.
        loss_weight (float): Factor of the losses. Defaults to 1.
        consistency (float): Weight of
            :func:`~mmreid_gcl.models.functional.contrastive.soft_consistency_loss`,
            times ``loss_weight``. It needs :class:`~mmreid_gcl.datasets.WeakView` in
            the training pipeline. Defaults to 0: without.
        consistency_temperature (float): Defaults to 0.4.

    Raises:
        ValueError: If a temperature is not positive, or ``consistency`` negative.
    """

    def __init__(
        self,
        temperature: float = 0.1,
        feature: str = 'embedding',
        loss_weight: float = 1.0,
        consistency: float = 0.0,
        consistency_temperature: float = 0.4,
    ) -> None:
        super().__init__()
        for name, value in (
            ('temperature', temperature),
            ('consistency_temperature', consistency_temperature),
        ):
            if value <= 0:
                raise ValueError(f'{name} must be positive, got {value}.')
        if consistency < 0:
            raise ValueError(f'consistency must not be negative, got {consistency}.')
        self.temperature = temperature
        self.feature = feature
        self.loss_weight = loss_weight
        self.consistency = consistency
        self.consistency_temperature = consistency_temperature
        self.needs = ('weak',) if consistency else ()

    def loss(
        self, features: Tensor, labels: Tensor, images: BatchImages | None = None
    ) -> dict[str, Tensor]:
        """Losses of (Q, C) features and (Q,) pseudo-labels.

        ``loss_instance``, and with ``consistency`` ``loss_consistency``.
        """
        loss = hard_instance_loss(features, labels, self.temperature)
        losses = dict(loss_instance=self.loss_weight * loss)
        if self.consistency:
            if images is None or images.weak is None:
                raise RuntimeError(
                    'InstanceContrastHead(consistency=...) needs the features of the '
                    'weak views: images=BatchImages(labels, weak=...), which '
                    'UnsupervisedReID gives it.'
                )
            factor = self.loss_weight * self.consistency
            losses['loss_consistency'] = factor * soft_consistency_loss(
                features, images.weak, self.consistency_temperature
            )
        return losses
