# SPDX-License-Identifier: Apache-2.0
"""Gathering of the global batch: features with gradient, and what heads need."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from mmengine import dist
from mmpretrain.structures import DataSample
from torch import Tensor

#: Where a data sample has what a head may need.
_KEYS = dict(index='sample_idx', camid='camid')


class BatchImages(NamedTuple):
    """What a head knows of the images of a batch.

    Attributes:
        labels (Tensor): (Q,) int64 pseudo-labels.
        index (Tensor | None): (Q,) int64 positions in the data set; None unless a
            head needs them.
        camid (Tensor | None): (Q,) int64 cameras; likewise.
        weak (Tensor | None): (Q, C) the head's feature of the weak views, without
            gradient; likewise.
    """

    labels: Tensor
    # type ignored: in place of tuple.index
    index: Tensor | None = None  # type: ignore[assignment]
    camid: Tensor | None = None
    weak: Tensor | None = None


def gather_images(
    samples: Sequence[DataSample], needs: Sequence[str], device: torch.device
) -> BatchImages:
    """Read and gather what heads need of the images, in one exchange.

    Args:
        samples (Sequence[DataSample]): n samples of this rank, with ``gt_label``.
        needs (Sequence[str]): 'index' and 'camid', as heads ask for them.
        device (torch.device): Where to.

    Returns:
        BatchImages: Of the n * world size images of the global batch.

    Raises:
        RuntimeError: If a sample lacks something; the message says what to write.
    """
    for sample in samples:
        if 'gt_label' not in sample:
            raise RuntimeError(
                f'{sample.get("img_path", "an image")} has no pseudo-label. '
                "train_dataloader needs sampler=dict(type='PKSampler', ...), its data "
                'set must be one of mmreid_gcl, and default_hooks '
                "pseudo_labels=dict(type='PseudoLabelHook', ...)."
            )
        for name in needs:
            if _KEYS[name] not in sample:
                raise RuntimeError(
                    f'A head of the model needs {_KEYS[name]!r} of every image. Add it '
                    "to meta_keys of the training pipeline's PackInputs."
                )
    labels = torch.cat([sample.gt_label for sample in samples])
    if not needs:
        return BatchImages(gather_batch(labels.to(device)))
    columns = [labels.cpu()]
    columns += [torch.tensor([int(s.get(_KEYS[n])) for s in samples]) for n in needs]
    gathered = gather_batch(torch.stack(columns, dim=1).to(device))
    found = dict(zip(('labels', *needs), gathered.unbind(dim=1)))
    return BatchImages(**found)


def weak_views(samples: Sequence[DataSample]) -> Tensor:
    """The weak views of this rank's images, (n, 3, H, W) uint8.

    Raises:
        RuntimeError: If a sample has none; the message says what to write.
    """
    for sample in samples:
        if 'weak_view' not in sample:
            raise RuntimeError(
                'A head of the model needs a weak view of every image. Add '
                "dict(type='WeakView') after Resize to the training pipeline, and "
                "algorithm_keys=('weak_view',) to its PackInputs."
            )
    views = np.stack([sample.weak_view for sample in samples])
    return torch.from_numpy(views).permute(0, 3, 1, 2).contiguous()


class _GatherWithGrad(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        ctx.rows = len(x)
        return torch.cat(dist.all_gather(x.contiguous()))

    @staticmethod
    def backward(ctx, grad: Tensor) -> Tensor:
        # Every rank computes the same loss of the same gathered batch, so the
        # gradient that reaches here is the same everywhere: no communication.
        # DDP then averages over ranks; the factor makes that average the sum.
        start = dist.get_rank() * ctx.rows
        return grad[start : start + ctx.rows] * dist.get_world_size()


def gather_batch(x: Tensor) -> Tensor:
    """Concatenate the ranks' parts of a batch, in the order of the ranks.

    The gradient is right for a loss that every rank computes alike from the
    gathered batch and for ``DistributedDataParallel``, which averages the
    gradients of the ranks. With one process the input comes back.

    Args:
        x (Tensor): (n, ...) this rank's part; n is equal on all ranks.

    Returns:
        Tensor: (n * world size, ...).
    """
    if dist.get_world_size() == 1:
        return x
    return _GatherWithGrad.apply(x)
