# SPDX-License-Identifier: Apache-2.0
"""Which model made an embedding."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

import torch
from torch import nn


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
