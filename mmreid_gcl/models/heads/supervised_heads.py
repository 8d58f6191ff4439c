# SPDX-License-Identifier: Apache-2.0
"""Training with identities: classification, and triplets of the batch (BNNeck)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmreid_gcl.registry import MODELS

from ..batch import BatchImages
from ..functional.groups import same_group
from ..functional.numerics import at_least_float32, no_autocast


def batch_hard_triplet_loss(
    features: Tensor, labels: Tensor, margin: float = 0.3
) -> Tensor:
    """Triplets of each image with its hardest positive and negative of the batch.

    Hermans et al., *In Defense of the Triplet Loss*, 2017: the mean over the images of
    ``max(0, margin + d(hardest positive) - d(hardest negative))``, Euclidean.

    Args:
        features (Tensor): (Q, C).
        labels (Tensor): (Q,) identities. An image without a negative counts 0.
        margin (float): Defaults to 0.3.

    Returns:
        Tensor: A scalar, float32 or wider whatever autocast says.
    """
    with no_autocast(features):
        features = at_least_float32(features)
        squared = features.pow(2).sum(dim=1)
        squared = squared[:, None] + squared - 2 * features @ features.T
        distances = squared.clamp_min(1e-12).sqrt()  # the root of 0 has no gradient
        same = same_group(labels)
        positive = distances.masked_fill(~same, -torch.inf).amax(dim=1)
        negative = distances.masked_fill(same, torch.inf).amin(dim=1)
        return F.relu(margin + positive - negative).mean()


@MODELS.register_module()
class IdentityHead(nn.Module):
    """Classify identities, with label smoothing.

    With the feature after the batch norm, and :class:`TripletHead` on the one before
    it, this is the BNNeck of Luo et al., *Bag of Tricks*, CVPRW 2019.

    Args:
        in_channels (int): C, width of the features.
        num_classes (int): Identities in the training set.
        smoothing (float): Share of the target that all classes have. Defaults to 0.1.
        feature (str): Which features it works on. Defaults to 'normed'.
        loss_weight (float): Factor of the loss. Defaults to 1.
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        smoothing: float = 0.1,
        feature: str = 'normed',
        loss_weight: float = 1.0,
    ) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.feature = feature
        self.smoothing = smoothing
        self.loss_weight = loss_weight
        self.classifier = nn.Linear(in_channels, num_classes, bias=False)
        nn.init.normal_(self.classifier.weight, std=0.001)

    def loss(
        self, features: Tensor, labels: Tensor, images: BatchImages | None = None
    ) -> dict[str, Tensor]:
        """``loss_id`` of (Q, C) features and (Q,) identities in [0, num_classes)."""
        logits = self.classifier(features)
        loss = F.cross_entropy(logits, labels, label_smoothing=self.smoothing)
        return dict(loss_id=self.loss_weight * loss)


@MODELS.register_module()
class TripletHead(nn.Module):
    """Batch-hard triplets; see :func:`batch_hard_triplet_loss`.

    Args:
        margin (float): Defaults to 0.3.
        feature (str): Which features it works on. Defaults to 'pooled'.
        loss_weight (float): Factor of the loss. Defaults to 1.
    """

    def __init__(
        self, margin: float = 0.3, feature: str = 'pooled', loss_weight: float = 1.0
    ) -> None:
        super().__init__()
        self.margin = margin
        self.feature = feature
        self.loss_weight = loss_weight

    def loss(
        self, features: Tensor, labels: Tensor, images: BatchImages | None = None
    ) -> dict[str, Tensor]:
        """``loss_triplet`` of (Q, C) features and (Q,) identities."""
        loss = batch_hard_triplet_loss(features, labels, self.margin)
        return dict(loss_triplet=self.loss_weight * loss)
