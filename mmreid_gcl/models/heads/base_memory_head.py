# SPDX-License-Identifier: Apache-2.0
"""BaseMemoryHead: the contract of heads with a memory."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor, nn

from ..batch import BatchImages


class BaseMemoryHead(nn.Module):
    """A loss against a memory that queries update.

    :meth:`loss` remembers the batch; :meth:`apply_update` moves the memory, once the
    optimiser has taken the step, so that no loss sees a memory that its own batch
    changed. :class:`~mmreid_gcl.engine.MemoryHook` calls both at the right time, and
    :meth:`init_memory` before every epoch.

    A subclass names its tensors in :attr:`memories`, sets them in :meth:`build`, and
    has :meth:`compute_loss` and :meth:`updated`. They are no buffers: they are rebuilt
    every epoch in another shape, which neither a state dict nor ``EMAHook`` survives.

    Args:
        in_channels (int): C, width of the features.
        momentum (float): Share of a memory's row that stays. Defaults to 0.2.
        temperature (float): tau of the softmax. Defaults to 0.05.
        loss_weight (float): Factor of the loss. Defaults to 1.
        feature (str): Which of the model's features it works on: 'embedding' (x) or
            'relation' (GCL(x)). Defaults to 'embedding'; ``UnsupervisedReID`` gives its
            relation head 'relation'.

    Raises:
        ValueError: If ``momentum`` or ``temperature`` is out of its range.

    Attributes:
        memories (tuple[str, ...]): Names of the attributes that are the memory; one
            is ``memory``.
        needs (tuple[str, ...]): What it has to know of a batch's images beside their
            label: 'index' (position in the data set), 'camid', or 'weak' (features of
            the weak views).
        outliers (str): What the sampler must do with them, as of ``PKSampler``.
    """

    memories: tuple[str, ...] = ('memory',)
    needs: tuple[str, ...] = ()
    outliers = 'drop'

    def __init__(
        self,
        in_channels: int,
        momentum: float = 0.2,
        temperature: float = 0.05,
        loss_weight: float = 1.0,
        feature: str = 'embedding',
    ) -> None:
        super().__init__()
        if not 0 <= momentum <= 1:
            raise ValueError(f'momentum must be in [0, 1], got {momentum}.')
        if temperature <= 0:
            raise ValueError(f'temperature must be positive, got {temperature}.')
        self.in_channels = in_channels
        self.momentum = momentum
        self.temperature = temperature
        self.loss_weight = loss_weight
        self.feature = feature
        self.memory = torch.empty(0, in_channels)
        self._recorded: list[tuple[Tensor, ...]] = []

    @abstractmethod
    def build(
        self, features: Tensor, labels: Tensor, records: Mapping[str, np.ndarray]
    ) -> dict[str, Tensor]:
        """The memory at the start of an epoch.

        Args:
            features (Tensor): (N, C), unit length, on any device.
            labels (Tensor): (N,) clusters 0..U-1, -1 for outliers, on that device.
            records (Mapping[str, np.ndarray]): (N,) arrays ``img_path``, ``camid``,
                ``sequence`` and ``frame``; may be empty for a head that needs none.

        Returns:
            dict[str, Tensor]: A tensor for each of :attr:`memories`.
        """

    @abstractmethod
    def compute_loss(
        self, features: Tensor, labels: Tensor, *needed: Tensor
    ) -> dict[str, Tensor]:
        """The losses of a batch, without their weight.

        Args:
            features (Tensor): (Q, C) queries of the global batch.
            labels (Tensor): (Q,) their pseudo-labels.
            *needed (Tensor): (Q,) each, in the order of :attr:`needs`.

        Returns:
            dict[str, Tensor]: Scalars by name, beginning with ``loss``.
        """

    @abstractmethod
    def updated(
        self, features: Tensor, labels: Tensor, *needed: Tensor
    ) -> dict[str, Tensor]:
        """The memory after a batch; see :meth:`compute_loss`.

        Returns:
            dict[str, Tensor]: New tensors for those of :attr:`memories` that change;
            the ones in use stay as they are.
        """

    def compile_functions(self, **options) -> None:
        """Compile loss and update, where a subclass can.

        Args:
            **options: Of ``torch.compile``.
        """

    @property
    def device(self) -> torch.device:
        """Where the memory is."""
        return self.memory.device

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True):
        """Take the memory along to another device or dtype."""
        super()._apply(fn, recurse)
        for name, tensor in self.memory_tensors().items():
            setattr(self, name, fn(tensor))
        return self

    def memory_tensors(self) -> dict[str, Tensor]:
        """The tensors of the memory by name."""
        return {name: getattr(self, name) for name in self.memories}

    def set_memory_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Take a memory over; what waits for an update is forgotten.

        Args:
            tensors (Mapping[str, Tensor]): As of :meth:`memory_tensors`.
        """
        device = self.device
        for name, tensor in tensors.items():
            setattr(self, name, tensor.to(device))
        self._recorded.clear()

    def init_memory(
        self,
        features: Tensor,
        labels: Tensor,
        records: Mapping[str, np.ndarray] | None = None,
    ) -> None:
        """Build the memory of an epoch.

        Args:
            features (Tensor): (N, C), on any device.
            labels (Tensor): (N,) clusters 0..U-1; -1 is an outlier.
            records (Mapping[str, np.ndarray], optional): What is known of the images;
                see :meth:`build`.

        Raises:
            ValueError: If the width is wrong or no cluster has an image.
        """
        if features.shape[-1] != self.in_channels:
            raise ValueError(
                f'{type(self).__name__} has in_channels={self.in_channels}, but the '
                f'features have {features.shape[-1]} channels.'
            )
        labels = labels.to(features.device)
        self.set_memory_tensors(self.build(features, labels, records or {}))

    def loss(
        self, features: Tensor, labels: Tensor, images: BatchImages | None = None
    ) -> dict[str, Tensor]:
        """The losses of a batch, and a record for :meth:`apply_update`.

        Args:
            features (Tensor): (Q, C) queries of the global batch.
            labels (Tensor): (Q,) their pseudo-labels.
            images (BatchImages, optional): What else is known of the images; needed
                if :attr:`needs` names something.

        Returns:
            dict[str, Tensor]: Scalars by name.

        Raises:
            RuntimeError: If :meth:`init_memory` was not called.
        """
        if not len(self.memory):
            raise RuntimeError(
                'The memory is empty. Call init_memory(features, labels) first, or '
                "put pseudo_labels=dict(type='PseudoLabelHook', ...) and "
                "memory=dict(type='MemoryHook') into default_hooks: they do so at "
                'the start of every epoch.'
            )
        needed = [getattr(images, name, None) for name in self.needs]
        if any(values is None for values in needed):
            raise RuntimeError(
                f'{type(self).__name__} needs {", ".join(self.needs)} of the images: '
                'loss(features, labels, BatchImages(labels, index=..., camid=...)).'
            )
        losses = self.compute_loss(features, labels, *needed)
        if self.loss_weight != 1:
            losses = {name: self.loss_weight * loss for name, loss in losses.items()}
        total = sum(loss.detach() for loss in losses.values())
        finite = torch.as_tensor(total).abs() < torch.inf
        self._recorded.append((features.detach(), labels, *needed, finite))
        return losses

    def apply_update(self) -> None:
        """Update the memory with the queries that :meth:`loss` recorded.

        Several recorded batches (gradient accumulation) count as one. A batch
        whose loss was not finite leaves the memory as it was. Nothing here
        waits for the device.
        """
        if not self._recorded:
            return
        *columns, finite = map(list, zip(*self._recorded))
        self._recorded.clear()
        new = self.updated(
            *(torch.cat(parts) if len(parts) > 1 else parts[0] for parts in columns)
        )
        good = torch.stack(finite).all() if len(finite) > 1 else finite[0]
        for name, tensor in new.items():
            setattr(self, name, torch.where(good, tensor, getattr(self, name)))

    def discard_update(self) -> None:
        """Forget what ``loss`` recorded: the optimiser skipped the step."""
        self._recorded.clear()

    def forget_last(self) -> None:
        """Forget the last batch alone: its step will be repeated."""
        if self._recorded:
            self._recorded.pop()

    def memory_state(self) -> dict:
        """The memory and what waits for :meth:`apply_update`, for a checkpoint.

        Returns:
            dict: Tensors on the CPU; the state dict holds neither.
        """
        state: dict = {k: v.cpu().clone() for k, v in self.memory_tensors().items()}
        state['recorded'] = [[part.cpu() for part in r] for r in self._recorded]
        return state

    def load_memory_state(self, state: dict) -> None:
        """Take over a :meth:`memory_state`, bit by bit.

        Args:
            state (dict): As returned.
        """
        device = self.device
        self.set_memory_tensors({name: state[name] for name in self.memories})
        self._recorded = [
            tuple(part.to(device) for part in record) for record in state['recorded']
        ]
