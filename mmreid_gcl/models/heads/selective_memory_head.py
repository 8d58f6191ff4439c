# SPDX-License-Identifier: Apache-2.0
"""Selective contrastive learning (SCL): a loss and a memory of centroids."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from mmreid_gcl.registry import MODELS

from ..functional import (
    POLICIES,
    cluster_centroids,
    selective_contrastive_loss,
    update_memory,
)
from .base_memory_head import BaseMemoryHead

_LOSS_QUERIES = ('auto', 'selected', 'all')


@MODELS.register_module()
class SelectiveMemoryHead(BaseMemoryHead):
    """The contrastive loss against a memory that its hardest queries update.

    :meth:`loss` is eq. 7, :meth:`apply_update` eq. 6, on one centroid a cluster. With
    ``policy='sequential'`` it is the baseline of Cluster Contrast (Dai et al., ACCV
    2022) as its public code has it.

    Args:
        in_channels (int): C, width of the features.
        topk (int): k, hardest queries a cluster. Defaults to 2.
        momentum (float): eta, share of a centroid that stays. Defaults to 0.2.
        temperature (float): tau of the softmax. Defaults to 0.05.
        policy (str): How queries update the memory: 'selective', 'average' or
            'random' (table 3), or 'sequential': all queries of a cluster, one after
            the other in the order of the batch. Defaults to 'selective'.
        loss_queries (str): 'selected' (eq. 7: the k hardest of a cluster),
            'all' (the mean over all queries) or 'auto': 'selected' with the
            policy 'selective', else 'all'. Defaults to 'auto'.
        loss_weight (float): Factor of the loss; lambda of eq. 8 for the
            relation head. Defaults to 1.
        feature (str): Which features it works on; see :class:`BaseMemoryHead`.
            Defaults to 'embedding'.

    Raises:
        ValueError: If an argument is out of its range.
    """

    def __init__(
        self,
        in_channels: int,
        topk: int = 2,
        momentum: float = 0.2,
        temperature: float = 0.05,
        policy: str = 'selective',
        loss_queries: str = 'auto',
        loss_weight: float = 1.0,
        feature: str = 'embedding',
    ) -> None:
        super().__init__(in_channels, momentum, temperature, loss_weight, feature)
        if policy not in POLICIES:
            raise ValueError(f'policy must be one of {POLICIES}, got {policy!r}.')
        if loss_queries not in _LOSS_QUERIES:
            raise ValueError(
                f'loss_queries must be one of {_LOSS_QUERIES}, got {loss_queries!r}.'
            )
        if topk < 1:
            raise ValueError(f'topk must be at least 1, got {topk}.')
        self.topk = topk
        self.policy = policy
        if loss_queries == 'auto':
            loss_queries = 'selected' if policy == 'selective' else 'all'
        self.loss_queries = loss_queries
        self._compiled = False
        self._contrastive_loss = selective_contrastive_loss
        self._update_memory = update_memory

    def compile_functions(self, **options) -> None:
        """Compile loss and update, which are many small operations.

        The number of clusters is dynamic: a new epoch needs no new compilation.
        The policies 'random', whose draws would be others, and 'sequential', whose
        number of steps is that of the batch, keep their update.

        Args:
            **options: Of ``torch.compile``.
        """
        self._compiled = True
        self._contrastive_loss = torch.compile(selective_contrastive_loss, **options)
        if self.policy not in ('random', 'sequential'):
            self._update_memory = torch.compile(update_memory, **options)

    def _allow_any_count(self) -> None:
        if self._compiled:
            torch._dynamo.maybe_mark_dynamic(self.memory, 0)

    def build(
        self, features: Tensor, labels: Tensor, records: Mapping[str, np.ndarray]
    ) -> dict[str, Tensor]:
        """(U, C) unit-length means of the clusters; outliers take no part."""
        return dict(memory=cluster_centroids(features, labels))

    def compute_loss(
        self, features: Tensor, labels: Tensor, *needed: Tensor
    ) -> dict[str, Tensor]:
        """``loss_scl``, eq. 7."""
        self._allow_any_count()
        loss = self._contrastive_loss(
            features,
            labels,
            self.memory,
            self.temperature,
            self.topk if self.loss_queries == 'selected' else None,
        )
        return dict(loss_scl=loss)

    def updated(
        self, features: Tensor, labels: Tensor, *needed: Tensor
    ) -> dict[str, Tensor]:
        """The centroids after a batch, eq. 6."""
        self._allow_any_count()
        memory = self._update_memory(
            self.memory, features, labels, self.momentum, self.topk, self.policy
        )
        return dict(memory=memory)
