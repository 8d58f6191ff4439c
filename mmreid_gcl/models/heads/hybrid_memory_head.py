# SPDX-License-Identifier: Apache-2.0
"""The hybrid memory of SpCL: centroids of clusters and un-clustered instances."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mmreid_gcl.labels import outliers_as_classes
from mmreid_gcl.registry import MODELS

from ..functional import update_memory
from ..functional.numerics import at_least_float32, no_autocast, unit_length
from .base_memory_head import BaseMemoryHead


def hybrid_contrastive_loss(
    queries: Tensor,
    labels: Tensor,
    instances: Tensor,
    classes: Tensor,
    sizes: Tensor,
    temperature: float = 0.05,
) -> Tensor:
    """The unified contrastive loss of SpCL (eq. 1 of the paper, without a source).

    The mean over the queries of ``-log softmax_j(q . z_j / temperature)[own class]``,
    where ``z_j`` is the mean of the instances of class j: the centroid of a cluster
    (eq. 2), or the one instance of an outlier.

    Args:
        queries (Tensor): (Q, C). Normalised here.
        labels (Tensor): (Q,) classes of the queries.
        instances (Tensor): (N, C), unit length; get no gradient.
        classes (Tensor): (N,) class of each instance, in [0, Z).
        sizes (Tensor): (Z,) instances of each class, at least 1.
        temperature (float): tau. Defaults to 0.05.

    Returns:
        Tensor: A scalar, float32 or wider whatever autocast says.
    """
    with no_autocast(queries):
        queries = unit_length(queries)
        similarity = queries @ instances.detach().to(queries.dtype).T
        sums = similarity.new_zeros(len(queries), len(sizes))
        means = sums.index_add(1, classes, similarity) / sizes
        return F.cross_entropy(means / temperature, labels)


@MODELS.register_module()
class HybridMemoryHead(BaseMemoryHead):
    """Contrast against the centroids of clusters and the un-clustered instances.

    Ge et al., *Self-paced Contrastive Learning with Hybrid Memory for Domain Adaptive
    Object Re-ID*, NeurIPS 2020, without a labelled source. The memory holds a feature
    for every image; centroids are the means of those of their members at the time. The
    sampler draws outliers too: ``PKSampler(outliers='own_class')``.

    Args:
        in_channels (int): C, width of the features.
        **kwargs: ``momentum`` (m), ``temperature``, ``loss_weight`` and ``feature`` of
            :class:`BaseMemoryHead`.
    """

    memories = ('memory', 'classes', 'sizes')
    needs = ('index',)
    outliers = 'own_class'

    def __init__(self, in_channels: int, **kwargs) -> None:
        super().__init__(in_channels, **kwargs)
        self.classes = torch.empty(0, dtype=torch.int64)
        self.sizes = torch.empty(0, dtype=torch.int64)

    def build(
        self, features: Tensor, labels: Tensor, records: Mapping[str, np.ndarray]
    ) -> dict[str, Tensor]:
        """All (N, C) features, their classes, and how many of each there are."""
        classes = torch.from_numpy(outliers_as_classes(labels.cpu().numpy()))
        return dict(
            memory=F.normalize(at_least_float32(features)),
            classes=classes,
            sizes=torch.bincount(classes),
        )

    def compute_loss(
        self, features: Tensor, labels: Tensor, *needed: Tensor
    ) -> dict[str, Tensor]:
        """``loss_hybrid``."""
        memory = self.memory, self.classes, self.sizes
        loss = hybrid_contrastive_loss(features, labels, *memory, self.temperature)
        return dict(loss_hybrid=loss)

    def updated(
        self, features: Tensor, labels: Tensor, *needed: Tensor
    ) -> dict[str, Tensor]:
        """The instances after a batch: ``v_i <- L2(m v_i + (1 - m) f_i)`` (eq. 4)."""
        (index,) = needed
        memory = update_memory(
            self.memory, features, index, self.momentum, policy='sequential'
        )
        return dict(memory=memory)
