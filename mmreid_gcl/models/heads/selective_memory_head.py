# SPDX-License-Identifier: Apache-2.0
"""Selective contrastive learning (SCL): a loss and a memory of centroids."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from mmreid_gcl.registry import MODELS

from ..functional import (
    POLICIES,
    cluster_centroids,
    selective_contrastive_loss,
    update_memory,
)

_LOSS_QUERIES = ('auto', 'selected', 'all')


@MODELS.register_module()
class SelectiveMemoryHead(nn.Module):
    """The contrastive loss against a memory that its hardest queries update.

    :meth:`loss` (eq. 7) remembers the batch; :meth:`apply_update` (eq. 6) moves
    the memory, once the optimiser has taken the step, so that no loss sees a
    memory that its own batch changed.
    :class:`~mmreid_gcl.engine.PseudoLabelHook` calls both at the right time.

    Args:
        in_channels (int): C, width of the features.
        topk (int): k, hardest queries a cluster. Defaults to 2.
        momentum (float): eta, share of a centroid that stays. Defaults to 0.2.
        temperature (float): tau of the softmax. Defaults to 0.05.
        policy (str): How queries update the memory (table 3): 'selective',
            'average' or 'random'. Defaults to 'selective'.
        loss_queries (str): 'selected' (eq. 7: the k hardest of a cluster),
            'all' (the mean over all queries) or 'auto': 'selected' with the
            policy 'selective', else 'all'. Defaults to 'auto'.
        loss_weight (float): Factor of the loss; lambda of eq. 8 for the
            relation head. Defaults to 1.

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
    ) -> None:
        super().__init__()
        if policy not in POLICIES:
            raise ValueError(f'policy must be one of {POLICIES}, got {policy!r}.')
        if loss_queries not in _LOSS_QUERIES:
            raise ValueError(
                f'loss_queries must be one of {_LOSS_QUERIES}, got {loss_queries!r}.'
            )
        if topk < 1:
            raise ValueError(f'topk must be at least 1, got {topk}.')
        if not 0 <= momentum <= 1:
            raise ValueError(f'momentum must be in [0, 1], got {momentum}.')
        if temperature <= 0:
            raise ValueError(f'temperature must be positive, got {temperature}.')
        self.in_channels = in_channels
        self.topk = topk
        self.momentum = momentum
        self.temperature = temperature
        self.policy = policy
        if loss_queries == 'auto':
            loss_queries = 'selected' if policy == 'selective' else 'all'
        self.loss_queries = loss_queries
        self.loss_weight = loss_weight
        # Rebuilt every epoch with as many rows as there are clusters, so it has
        # no place in the state dict. Nor is it a buffer: EMAHook copies those
        # from model to model and fails where shapes differ.
        self.memory = torch.empty(0, in_channels)
        self._recorded: list[tuple[Tensor, Tensor, Tensor]] = []
        self._compiled = False
        self._contrastive_loss = selective_contrastive_loss
        self._update_memory = update_memory

    def compile_functions(self, **options) -> None:
        """Compile loss and update, which are many small operations.

        The number of clusters is dynamic: a new epoch needs no new compilation.
        The policy 'random' keeps its update, whose draws would be others.

        Args:
            **options: Of ``torch.compile``.
        """
        self._compiled = True
        self._contrastive_loss = torch.compile(selective_contrastive_loss, **options)
        if self.policy != 'random':
            self._update_memory = torch.compile(update_memory, **options)

    def _allow_any_count(self) -> None:
        if self._compiled:
            torch._dynamo.maybe_mark_dynamic(self.memory, 0)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True):
        """Take the memory along to another device or dtype."""
        super()._apply(fn, recurse)
        self.memory = fn(self.memory)
        return self

    def init_memory(self, features: Tensor, labels: Tensor) -> None:
        """Build the memory: unit-length means of the clusters.

        Args:
            features (Tensor): (N, C), on any device.
            labels (Tensor): (N,) clusters 0..U-1; -1 takes no part.

        Raises:
            ValueError: If the width is wrong or no cluster has an image.
        """
        if features.shape[-1] != self.in_channels:
            raise ValueError(
                f'SelectiveMemoryHead has in_channels={self.in_channels}, but the '
                f'features have {features.shape[-1]} channels.'
            )
        centroids = cluster_centroids(features, labels.to(features.device))
        self.memory = centroids.to(self.memory.device)
        self._recorded.clear()

    def memory_state(self) -> dict:
        """The memory and what waits for :meth:`apply_update`, for a checkpoint.

        Returns:
            dict: Tensors on the CPU; the state dict holds neither.
        """
        recorded = [[part.cpu() for part in record] for record in self._recorded]
        return dict(memory=self.memory.cpu().clone(), recorded=recorded)

    def load_memory_state(self, state: dict) -> None:
        """Take over a :meth:`memory_state`, bit by bit.

        Args:
            state (dict): As returned.
        """
        device = self.memory.device
        self.memory = state['memory'].to(device)
        self._recorded = [
            tuple(part.to(device) for part in record) for record in state['recorded']
        ]

    def loss(self, features: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """The loss of a batch (eq. 7), and a record for :meth:`apply_update`.

        Args:
            features (Tensor): (Q, C) queries of the global batch.
            labels (Tensor): (Q,) their clusters, in [0, U).

        Returns:
            dict[str, Tensor]: ``loss_scl``, a scalar.

        Raises:
            RuntimeError: If :meth:`init_memory` was not called.
        """
        if not len(self.memory):
            raise RuntimeError(
                'The memory is empty. Call init_memory(features, labels) first, or '
                "put dict(type='PseudoLabelHook', ...) into custom_hooks: it does "
                'so at the start of every epoch.'
            )
        self._allow_any_count()
        loss = self._contrastive_loss(
            features,
            labels,
            self.memory,
            self.temperature,
            self.topk if self.loss_queries == 'selected' else None,
        )
        if self.loss_weight != 1:
            loss = self.loss_weight * loss
        finite = loss.detach().abs() < torch.inf
        self._recorded.append((features.detach(), labels, finite))
        return dict(loss_scl=loss)

    def apply_update(self) -> None:
        """Update the memory (eq. 6) with the queries that ``loss`` recorded.

        Several recorded batches (gradient accumulation) count as one. A batch
        whose loss was not finite leaves the memory as it was. Nothing here
        waits for the device.
        """
        if not self._recorded:
            return
        features, labels, finite = map(list, zip(*self._recorded))
        self._recorded.clear()
        self._allow_any_count()
        updated = self._update_memory(
            self.memory,
            torch.cat(features) if len(features) > 1 else features[0],
            torch.cat(labels) if len(labels) > 1 else labels[0],
            self.momentum,
            self.topk,
            self.policy,
        )
        good = torch.stack(finite).all() if len(finite) > 1 else finite[0]
        self.memory = torch.where(good, updated, self.memory)

    def discard_update(self) -> None:
        """Forget what ``loss`` recorded: the optimiser skipped the step."""
        self._recorded.clear()

    def forget_last(self) -> None:
        """Forget the last batch alone: its step will be repeated."""
        if self._recorded:
            self._recorded.pop()
