# SPDX-License-Identifier: Apache-2.0
"""From a checkpoint file to a model, without executing what is in the file."""

from __future__ import annotations

import copy
import logging
import pickle
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from mmengine.logging import MMLogger
from torch import Tensor, nn

from mmreid_gcl.registry import MODELS

_CORE = ('core', '_core')  # of numpy 1 and of numpy 2


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
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f'{path}: there is no such checkpoint.')
    try:
        content = _safe_load(path)
    except pickle.UnpicklingError as error:
        raise ValueError(
            f'{path}: this file holds Python objects besides tensors, or is no '
            'checkpoint. Loading it could execute code and is refused. If you trust '
            "it, keep its weights alone: torch.save(torch.load('old.pth', "
            "weights_only=False)['state_dict'], 'new.pth'). What was found: "
            f'{_reason(error)}'
        ) from error
    except Exception as error:  # torch raises almost anything on such bytes
        raise ValueError(
            f'{path}: this file is no checkpoint, or it is damaged, for example by a '
            'copy that was cut off. Copy or train it again. What was found: '
            f'{_reason(error)}'
        ) from error
    if not isinstance(content, dict):
        raise ValueError(
            f'{path}: expected a dict of weights, got a {type(content).__name__}.'
        )
    return content


def _reason(error: Exception) -> str:
    """The line of torch's long message that says what is wrong."""
    telling = re.search(
        r'(Unsupported|Trying to (?:call|load))[^.\n]*(\.\w[^.\n]*)*', str(error)
    )
    text = telling.group() if telling else str(error).strip().partition('\n')[0]
    return f'{type(error).__name__}: {text[:200]}'


class _History:
    """Stands for mmengine's ``HistoryBuffer``, which loading has no use for."""


def _no_getattr(*_: object) -> None:
    """Stands for ``getattr``, with which a ``HistoryBuffer`` is pickled."""


def _safe_load(path: Path) -> dict:
    core = getattr(np, '_core', None) or np.core
    dtypes = {type(np.dtype(kind)) for kind in ('f4', 'f8', 'i4', 'i8', 'u1', 'u8')}
    # mmengine keeps histories of scalars beside the weights
    harmless = [
        (_History, 'mmengine.logging.history_buffer.HistoryBuffer'),
        (_no_getattr, 'builtins.getattr'),
        *(
            (core.multiarray._reconstruct, f'numpy.{c}.multiarray._reconstruct')
            for c in _CORE
        ),
        *((core.multiarray.scalar, f'numpy.{c}.multiarray.scalar') for c in _CORE),
        np.ndarray,
        np.dtype,
        *dtypes,
    ]
    options = dict(map_location='cpu', weights_only=True)
    with torch.serialization.safe_globals(harmless):
        try:
            return torch.load(path, mmap=True, **options)
        except RuntimeError as error:
            if 'mmap' not in str(error):
                raise
            # files of before torch 1.6 cannot be mapped
            return torch.load(path, **options)


def load_state(model: nn.Module, path: str | Path) -> dict:
    """Load all weights of a model from a checkpoint.

    Args:
        model (nn.Module): Changed in place.
        path (str | Path): A checkpoint: a state dict, or a dict that has one
            as ``state_dict``.

    Returns:
        dict: What the checkpoint holds besides, for example ``meta``.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no safe checkpoint, or weights are missing, left
            over or of another shape.
    """
    content = load_checkpoint_file(path)
    state = content.get('state_dict', content)
    state = {str(name).removeprefix('module.'): value for name, value in state.items()}
    _check_fit(model, state, path)
    model.load_state_dict(state)
    return {name: value for name, value in content.items() if name != 'state_dict'}


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
            model.
    """
    settings = copy.deepcopy(cfg.model)
    if checkpoint is not None and 'backbone' in settings:
        # the checkpoint has all weights: no other file is needed
        settings.backbone.pop('init_cfg', None)
    model = MODELS.build(settings)
    if checkpoint is None:
        with _quiet():
            model.init_weights()
    else:
        load_state(model, checkpoint)
    if device is None:
        device = 'cuda' if torch.cuda.is_available() else 'cpu'
    return model.to(device).eval()
