# SPDX-License-Identifier: Apache-2.0
"""From a checkpoint file to a model, without executing what is in the file."""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.logging import MMLogger
from torch import Tensor, nn

from mmreid_gcl.checkpoint import read_checkpoint, safe_loading
from mmreid_gcl.registry import MODELS


def load_checkpoint_file(path: str | Path) -> dict:
    """Read a checkpoint; tensors and plain values only.

    mmengine's own loader executes the pickle of a file that is not safe; a
    file from elsewhere could run any code. This never does.

    Args:
        path (str | Path): A ``.pth`` file, of this project or of any other.

    Returns:
        dict: Its content, tensors on the CPU (mapped from the file).

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no checkpoint, is damaged, or holds Python objects.
    """
    return read_checkpoint(path, mmap=True)


def load_state(model: nn.Module, path: str | Path) -> dict:
    """Load all weights of a model from a checkpoint; returns what else is in it.

    ``path`` holds a state dict, or a dict that has one as ``state_dict``. Weights that
    are missing, left over or of another shape are a ``ValueError``.
    """
    content = load_checkpoint_file(path)
    state = content.get('state_dict', content)
    state = {str(name).removeprefix('module.'): value for name, value in state.items()}
    _check_fit(model, state, path)
    model.load_state_dict(state)
    return {name: value for name, value in content.items() if name != 'state_dict'}


def trained_epochs(path: str | Path) -> int | None:
    """Epochs for which a checkpoint was trained; None if it does not say."""
    meta = load_checkpoint_file(path).get('meta')
    epoch = meta.get('epoch') if isinstance(meta, Mapping) else None
    return epoch if isinstance(epoch, int) else None


def _check_fit(model: nn.Module, state: Mapping, path: str | Path) -> None:
    own = model.state_dict()
    shapes = {n: tuple(v.shape) for n, v in state.items() if isinstance(v, Tensor)}
    problems = []
    for what, names in (
        ('missing', [name for name in own if name not in shapes]),
        ('not in the model', [name for name in state if name not in own]),
        (
            'of another shape',
            [n for n in own if n in shapes and shapes[n] != tuple(own[n].shape)],
        ),
    ):
        if names:
            more = f' and {len(names) - 3} more' if len(names) > 3 else ''
            problems.append(f'{what}: {", ".join(names[:3])}{more}')
    if problems:
        raise ValueError(
            f'{path}: this checkpoint does not belong to the model of the config '
            f'({"; ".join(problems)}). Give the config it was trained with: a run '
            'keeps it in its work dir.'
        )


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
