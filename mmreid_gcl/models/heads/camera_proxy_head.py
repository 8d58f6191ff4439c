# SPDX-License-Identifier: Apache-2.0
"""Camera-aware proxies (CAP): a centroid for each cluster in each camera."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from mmreid_gcl.registry import MODELS

from ..functional import cluster_centroids, update_memory
from ..functional.proxies import inter_camera_loss, intra_camera_loss
from .base_memory_head import BaseMemoryHead


@MODELS.register_module()
class CameraProxyHead(BaseMemoryHead):
    """Contrast against camera-aware proxies.

    Wang et al., *Camera-aware Proxies for Unsupervised Person Re-Identification*, AAAI
    2021. A cluster is split by camera; each part is a proxy with a centroid. Every
    query of the batch moves its proxy, one after the other.

    Args:
        in_channels (int): C, width of the features.
        inter_weight (float): lambda, weight of the inter-camera loss. Defaults to 0.5.
        negatives (int): Hardest proxies of other clusters in the inter-camera loss.
            Defaults to 50.
        temperature (float): tau of both softmaxes. Defaults to 0.07.
        **kwargs: ``momentum`` (mu), ``loss_weight`` and ``feature`` of
            :class:`BaseMemoryHead`.

    Raises:
        ValueError: If an argument is out of its range.
    """

    memories = ('memory', 'proxy_labels', 'proxy_camids')
    needs = ('camid',)

    def __init__(
        self,
        in_channels: int,
        inter_weight: float = 0.5,
        negatives: int = 50,
        temperature: float = 0.07,
        **kwargs,
    ) -> None:
        super().__init__(in_channels, temperature=temperature, **kwargs)
        if negatives < 1:
            raise ValueError(f'negatives must be at least 1, got {negatives}.')
        self.inter_weight = inter_weight
        self.negatives = negatives
        self.proxy_labels = torch.empty(0, dtype=torch.int64)
        self.proxy_camids = torch.empty(0, dtype=torch.int64)

    def build(
        self, features: Tensor, labels: Tensor, records: Mapping[str, np.ndarray]
    ) -> dict[str, Tensor]:
        """(M, C) unit-length means of the images of a cluster in a camera."""
        camids = torch.as_tensor(records['camid'], device=labels.device)
        kept = labels >= 0
        pairs = torch.stack([labels[kept], camids[kept]], dim=1)
        distinct, inverse = pairs.unique(dim=0, return_inverse=True)
        proxies = torch.full_like(labels, -1)
        proxies[kept] = inverse
        return dict(
            memory=cluster_centroids(features, proxies),
            proxy_labels=distinct[:, 0],
            proxy_camids=distinct[:, 1],
        )

    def proxies_of(self, labels: Tensor, camids: Tensor) -> Tensor:
        """(Q,) clusters and cameras to (Q,) rows of the memory."""
        same = self.proxy_labels == labels[:, None]
        return (same & (self.proxy_camids == camids[:, None])).int().argmax(dim=1)

    def compute_loss(
        self, features: Tensor, labels: Tensor, *needed: Tensor
    ) -> dict[str, Tensor]:
        """``loss_intra`` and ``loss_inter``, of the cameras ``needed[0]``."""
        (camids,) = needed
        proxies = self.memory, self.proxy_labels, self.proxy_camids
        queries = features, labels, camids
        return dict(
            loss_intra=intra_camera_loss(*queries, *proxies, self.temperature),
            loss_inter=self.inter_weight
            * inter_camera_loss(*queries, *proxies, self.temperature, self.negatives),
        )

    def updated(
        self, features: Tensor, labels: Tensor, *needed: Tensor
    ) -> dict[str, Tensor]:
        """The proxies after a batch."""
        rows = self.proxies_of(labels, *needed)
        memory = update_memory(
            self.memory, features, rows, self.momentum, policy='sequential'
        )
        return dict(memory=memory)
