# SPDX-License-Identifier: Apache-2.0
"""Publishing: a checkpoint of weights and config, with its hash in the name."""

from __future__ import annotations

import hashlib
import io
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from torch import Tensor, nn

from mmreid_gcl.checkpoint import read_checkpoint
from mmreid_gcl.config.embedded import config_of_checkpoint, usable_config
from mmreid_gcl.datasets.image_folder import as_path, log
from mmreid_gcl.files import write_atomically
from mmreid_gcl.version import __version__

from .loading import load_model


def publish_checkpoint(
    source: str | Path, out: str | Path, config: Config | None = None
) -> Path:
    """Write weights and config without what only training needs.

    Optimiser, schedules, histories, pseudo-labels and memories are left out. Of
    the config the model, the test transforms and the clustering stay: no path
    of the machine that trained it. The file can be given to
    :class:`~mmreid_gcl.apis.ReIDInferencer` alone, unless ``config`` has parts that
    are not on the list of :mod:`~mmreid_gcl.config.allowed_parts`: then it stays out,
    with a warning.

    Args:
        source (str | Path): A checkpoint of a training.
        out (str | Path): Where to; ``gcl_market.pth`` becomes
            ``gcl_market-<first 8 digits of its sha256>.pth``.
        config (Config, optional): Defaults to the one in the checkpoint.

    Returns:
        Path: What was written.

    Raises:
        FileNotFoundError: If there is no such checkpoint.
        ValueError: If it is damaged, has no config or does not fit it, or a weight
            is not finite.
    """
    out = as_path(out)
    if config is None:
        config = published = config_of_checkpoint(source)
    else:
        published = _published(config)
    model = load_model(config, source, 'cpu')
    state = model.state_dict()
    bad = [name for name, value in state.items() if not value.isfinite().all()]
    if bad:
        raise ValueError(
            f'{source}: {bad[0]} holds NaN or Inf ({len(bad)} tensors do): the '
            'training diverged. Publish an earlier checkpoint.'
        )
    meta = read_checkpoint(source, mmap=True).get('meta')
    kept = {
        name: meta[name]
        for name in ('epoch', 'iter', 'mmengine_version')
        if isinstance(meta, dict) and name in meta
    }
    data = _checkpoint(state, published, kept)
    digest = hashlib.sha256(data).hexdigest()
    final = out.with_name(f'{out.stem}-{digest[:8]}.pth')
    write_atomically(final, data)
    return final


def save_model(model: nn.Module, config: Config, out: str | Path, **meta) -> None:
    """Write a checkpoint of a model as it is, with its config.

    The file is as :func:`publish_checkpoint` writes it, also where ``config`` cannot
    be in it; ``load_from``, :class:`~mmreid_gcl.apis.ReIDInferencer` and the tools
    take it.

    Args:
        model (nn.Module): Its weights are written.
        config (Config): With ``model`` and the test transforms.
        out (str | Path): Where to.
        **meta: What else to note, such as ``epoch=60``.
    """
    data = _checkpoint(model.state_dict(), _published(config), meta)
    write_atomically(as_path(out), data)


def _checkpoint(
    state: Mapping[str, Tensor], config: Config | None, meta: Mapping[str, Any]
) -> memoryview:
    """The bytes of a checkpoint of weights and config."""
    text = config.pretty_text if config else ''
    content = dict(
        meta=dict(**meta, cfg=text, mmreid_gcl_version=__version__),
        # copies, so that no view drags its whole storage along
        state_dict={name: v.cpu().clone() for name, v in state.items()},
    )
    data = io.BytesIO()
    torch.save(content, data)
    return data.getbuffer()


def _published(config: Config) -> Config | None:
    """The part of a config that readers of the file may build, if they may."""
    try:
        return usable_config(config)
    except ValueError as error:
        if not config.get('model'):
            raise
        log(
            f'The file will not hold its config, which nobody could use: {error}. Give '
            'the config file along with it.',
            logging.WARNING,
        )
        return None
