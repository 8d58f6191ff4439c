# SPDX-License-Identifier: Apache-2.0
"""Cluster centroids with labels that the nearest images agree on."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mmreid_gcl.precision import float32_products
from mmreid_gcl.registry import MODELS

from ..functional.contrastive import soft_label_loss
from .selective_memory_head import SelectiveMemoryHead


@MODELS.register_module()
class NeighbourLabelHead(SelectiveMemoryHead):
    """A memory of centroids, and a loss that also asks the nearest images' labels.

    A wrong pseudo-label is mostly one that the nearest images do not have. See
    :func:`~mmreid_gcl.models.functional.contrastive.soft_label_loss`. The memory moves
    as that of :class:`SelectiveMemoryHead`.

    Args:
        in_channels (int): C, width of the features.
        neighbours (int): n, nearest images asked; fewer if there are fewer.
            Defaults to 8.
        share (float): Weight of their labels, in [0, 1]. Defaults to 0.5.
        **kwargs: ``topk`` and ``policy`` of the update (the loss is over all queries),
            ``momentum``, ``temperature``, ``loss_weight`` and ``feature`` of
            :class:`SelectiveMemoryHead`.

    Raises:
        ValueError: If an argument is out of its range.
    """

    memories = ('memory', 'neighbour_labels')
    needs = ('index',)

    def __init__(
        self, in_channels: int, neighbours: int = 8, share: float = 0.5, **kwargs
    ) -> None:
        super().__init__(in_channels, loss_queries='all', **kwargs)
        if neighbours < 1 or not 0 <= share <= 1:
            raise ValueError(
                'neighbours must be at least 1 and share in [0, 1], got '
                f'{neighbours!r} and {share!r}.'
            )
        self.neighbours = neighbours
        self.share = share
        self.neighbour_labels = torch.empty(0, neighbours, dtype=torch.int64)

    def build(
        self, features: Tensor, labels: Tensor, records: Mapping[str, np.ndarray]
    ) -> dict[str, Tensor]:
        """The centroids, and the (N, n) labels of each image's nearest ones."""
        memory = super().build(features, labels, records)
        x = F.normalize(features.float()).to(self.device)
        count = min(self.neighbours, len(x) - 1)
        near = torch.empty(len(x), count, dtype=torch.int64, device=self.device)
        chunk = max(1, 2**26 // len(x))  # 256 MiB of similarities
        for rows in torch.arange(len(x), device=self.device).split(chunk):
            with float32_products(x.device.type):
                similarity = x[rows] @ x.T
            similarity.scatter_(1, rows[:, None], -torch.inf)
            near[rows] = similarity.topk(count, dim=1).indices
        return dict(**memory, neighbour_labels=labels.to(near.device)[near])

    def compute_loss(
        self, features: Tensor, labels: Tensor, *needed: Tensor
    ) -> dict[str, Tensor]:
        """``loss_soft``, of the images at ``needed[0]`` in the data set."""
        loss = soft_label_loss(
            features,
            labels,
            self.neighbour_labels[needed[0]],
            self.memory,
            self.temperature,
            self.share,
        )
        return dict(loss_soft=loss)
