# SPDX-License-Identifier: Apache-2.0
"""A checkpoint to give away: weights, config, and a name that is its hash."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import torch
from mmengine.config import Config

from mmreid_gcl.files import write_atomically
from mmreid_gcl.version import __version__

from .embedded_config import config_of_checkpoint, usable_config
from .loading import load_checkpoint_file, load_model


def publish_checkpoint(
    source: str | Path, out: str | Path, config: Config | None = None
) -> Path:
    """Write weights and config without what only training needs.

    Optimiser, schedules, histories, pseudo-labels and memories are left out. Of
    the config the model, the test transforms and the clustering stay: no path
    of the machine that trained it. The file can be given to
    :class:`~mmreid_gcl.apis.ReIDInferencer` alone.

    Args:
        source (str | Path): A checkpoint of a training.
        out (str | Path): Where to; ``gcl_market.pth`` becomes
            ``gcl_market-<first 8 digits of its sha256>.pth``.
        config (Config, optional): Defaults to the one in the checkpoint.

    Returns:
        Path: What was written.

    Raises:
        FileNotFoundError: If there is no such checkpoint.
        ValueError: If it is damaged, has no config, or does not fit it.
    """
    config = config_of_checkpoint(source) if config is None else usable_config(config)
    if 'backbone' in config.model:
        config.model.backbone.pop('init_cfg', None)
    model = load_model(config, source, 'cpu')
    meta = load_checkpoint_file(source).get('meta')
    kept = {
        name: meta[name]
        for name in ('epoch', 'iter', 'mmengine_version')
        if isinstance(meta, dict) and name in meta
    }
    content = dict(
        meta=dict(**kept, cfg=config.pretty_text, mmreid_gcl_version=__version__),
        # copies, so that no view drags its whole storage along
        state_dict={name: v.clone() for name, v in model.state_dict().items()},
    )
    out = Path(out).expanduser()
    data = io.BytesIO()
    torch.save(content, data)
    digest = hashlib.sha256(data.getbuffer()).hexdigest()
    final = out.with_name(f'{out.stem}-{digest[:8]}.pth')
    write_atomically(final, data.getbuffer())
    return final
