# SPDX-License-Identifier: Apache-2.0
"""Model loading from a checkpoint, without executing code in it."""

from __future__ import annotations

import copy
import hashlib
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.logging import MMLogger
from torch import nn

from mmreid_gcl.checkpoint import (
    drop_classifier,
    misfit,
    read_checkpoint,
    safe_loading,
    weights_of,
)
from mmreid_gcl.registry import MODELS


def load_state(model: nn.Module, path: str | Path) -> dict:
    """Load all weights of a model from a checkpoint; returns what else is in it.

    ``path`` holds a state dict, or a dict that has one as ``state_dict``. Weights that
    are missing, left over or of another shape are a ``ValueError``; those of a
    classifier that the model has not are left out with a warning.
    """
    content = read_checkpoint(path, mmap=True)
    own = model.state_dict()
    drop_classifier(own, content, path)
    weights = weights_of(content)
    problem = misfit(own, weights, more=False)
    if problem:
        raise ValueError(f'{path}: {problem}')
    model.load_state_dict(weights)
    return {name: value for name, value in content.items() if name != 'state_dict'}


def trained_epochs(path: str | Path) -> int | None:
    """Epochs for which a checkpoint was trained; None if it does not say."""
    meta = read_checkpoint(path, mmap=True).get('meta')
    epoch = meta.get('epoch') if isinstance(meta, Mapping) else None
    return epoch if isinstance(epoch, int) else None


@contextmanager
def _quiet() -> Iterator[None]:
    """Without mmengine's four lines of log for each weight it initialises."""
    logger = MMLogger.get_current_instance()
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)


def load_model(
    cfg: Config,
    checkpoint: str | Path | None = None,
    device: str | torch.device | None = None,
) -> nn.Module:
    """Build the model of a config, for evaluation.

    Args:
        cfg (Config): With ``model``; is not changed.
        checkpoint (str | Path, optional): Its weights. None: as ``init_cfg``
            has it, an untrained model.
        device (str | torch.device, optional): Defaults to the GPU if there is
            one, else the CPU.

    Returns:
        nn.Module: In eval mode.

    Raises:
        FileNotFoundError: If there is no such checkpoint.
        ValueError: If the checkpoint is not safe or does not belong to the
            model, or there is no such device.
    """
    settings = copy.deepcopy(cfg.model)
    if checkpoint is not None and 'backbone' in settings:
        # the checkpoint has all weights: no other file is needed
        settings.backbone.pop('init_cfg', None)
    model = MODELS.build(settings)
    if checkpoint is None:
        with _quiet(), safe_loading():
            model.init_weights()
    else:
        load_state(model, checkpoint)
    if device is None:
        device = 'cuda' if torch.cuda.is_available() else 'cpu'
    return to_device(model, device).eval()


def to_device(model: nn.Module, device: str | torch.device) -> nn.Module:
    """Move a model, with a ``ValueError`` that a user understands."""
    try:
        return model.to(device)
    except (RuntimeError, AssertionError) as error:  # of torch without CUDA
        reason = str(error).strip().partition('\n')[0]
        raise ValueError(
            f'The device {str(device)!r} cannot be used: {reason[:200]} Leave it out '
            "for the GPU if there is one, or give 'cpu'."
        ) from error


def model_fingerprint(model: nn.Module, pipeline: Sequence[dict] = ()) -> str:
    """A hash of all that decides on embeddings, 64 hexadecimal digits (sha256).

    Weights, the normalisation of the images, test-time flipping and the transforms of
    ``pipeline`` count; device, precision and batch size do not.
    """
    digest = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        if name.endswith('num_batches_tracked'):  # counts, has no effect
            continue
        digest.update(f'{name} {value.dtype} {tuple(value.shape)}\n'.encode())
        values = value.detach().cpu().contiguous().flatten()
        digest.update(values.view(torch.uint8).numpy())
    digest.update(json.dumps(_settings(model, pipeline), default=str).encode())
    return digest.hexdigest()


def _settings(model: nn.Module, pipeline: Sequence[dict]) -> dict:
    preprocessor = getattr(model, 'data_preprocessor', None)
    numbers = {
        name: getattr(preprocessor, name).flatten().tolist()
        for name in ('mean', 'std')
        if getattr(preprocessor, name, None) is not None
    }
    transforms = [
        sorted((key, _plain(value)) for key, value in step.items())
        for step in pipeline
        if step.get('type') not in ('PackInputs', 'mmpretrain.PackInputs')
    ]
    return dict(
        pipeline=transforms,
        to_rgb=getattr(preprocessor, 'to_rgb', None),
        flip_test=getattr(model, 'flip_test', False),
        **numbers,
    )


def _plain(value):
    """Lists for tuples: JSON and pickles of one config agree."""
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return sorted((str(key), _plain(item)) for key, item in value.items())
    return value
