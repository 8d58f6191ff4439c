# SPDX-License-Identifier: Apache-2.0
"""Statistics of batch norms: estimated anew from unlabelled images, or kept."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmreid_gcl.eval_mode import evaluating

from .sub_batch_norm import SubBatchNorm2d


@contextmanager
def keeping_statistics(model: nn.Module) -> Iterator[None]:
    """Batch norms inside use those of the batch, and leave the running ones alone."""
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    before = [norm.momentum for norm in norms]
    try:
        for norm in norms:
            norm.momentum = 0.0
        yield
    finally:
        for norm, momentum in zip(norms, before):
            norm.momentum = momentum


@torch.no_grad()
def reestimate_norms(model: nn.Module, batches: Iterable[Tensor]) -> int:
    """Replace the running statistics of all batch norms by those of other images.

    Weights stay; means and variances become those of a new site (Li et al., 2016,
    "Revisiting Batch Normalization For Practical Domain Adaptation"). They are the
    mean over the batches, weighted by their images, of what a batch norm in train mode
    sees; all other modules are in eval mode.

    Args:
        model (nn.Module): With mode 'tensor'; changed in place. Norms that this mode
            does not reach, such as those of GCL, stay as they are. Every module is
            put back into the mode it was in.
        batches (Iterable[Tensor]): (n, 3, H, W) preprocessed images on the model's
            device, those of all cameras mixed. A batch of one image has no variance
            and is left out.

    Returns:
        int: How many images were used.

    Raises:
        ValueError: If the model has no batch norm, or no batch has two images.
            After any error the statistics are as they were.
    """
    norms = [
        module
        for module in model.modules()
        if isinstance(module, _BatchNorm) and module.running_mean is not None
    ]
    if not norms:
        raise ValueError(
            f'{type(model).__name__} has no batch norm, so there are no statistics to '
            'estimate anew. Adapt it by training.'
        )
    before = [{k: v.clone() for k, v in norm.named_buffers()} for norm in norms]
    settings = [
        (norm, name, getattr(norm, name))
        for norm in norms
        for name in ('momentum', 'samples')
        if hasattr(norm, name)
    ]
    flip = getattr(model, 'flip_test', None)
    count = 0
    try:
        with evaluating(model):
            if flip:  # each batch passes once
                model.flip_test = False
            for norm in norms:
                norm.train()
            for inputs in batches:
                if len(inputs) < 2:
                    continue
                count += len(inputs)
                for norm in norms:
                    norm.momentum = len(inputs) / count
                    if isinstance(norm, SubBatchNorm2d):
                        norm.samples = len(inputs)
                model(inputs, mode='tensor')
        if not count:
            raise ValueError(
                'Statistics of batch norms need a batch of at least two images.'
            )
    except BaseException:
        for norm, buffers in zip(norms, before):
            norm.load_state_dict(buffers, strict=False)
        raise
    finally:
        for norm, name, value in settings:
            setattr(norm, name, value)
        if flip:
            model.flip_test = flip
    return count
