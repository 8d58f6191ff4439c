# SPDX-License-Identifier: Apache-2.0
"""Where in training a checkpoint was taken, and whether it was validated."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mmengine.hooks import Hook
from mmengine.optim import OptimWrapper
from mmengine.runner import Runner

from mmreid_gcl.files import write_atomically
from mmreid_gcl.processes import unwrapped
from mmreid_gcl.registry import HOOKS

_RECORD = 'last_validation.json'
_POSITION = 'position'
_GRADIENTS = 'gradients'
_BUFFERS = 'buffers_of_ranks'


@dataclass
class Position:
    """What a checkpoint's epoch and iteration do not tell."""

    batch: int = 0  #: Batches of the epoch that are done; 0 between epochs
    inside_epoch: bool = False  #: Whether labels and memories of this epoch exist
    num_batches: int = 0  #: Batches of an epoch
    #: Whether the validation of the epoch that just ended is still to come
    validation_owed: bool = False

    def to_dict(self) -> dict:
        """As plain values, for a checkpoint."""
        return asdict(self)


class ValidationRecord:
    """The last finished validation of a run, as a file in its work dir.

    A checkpoint is written before the validation of its epoch; this says whether that
    has happened since.
    """

    def __init__(self, work_dir: str | Path) -> None:
        self.path = Path(work_dir) / _RECORD

    def write(self, epoch: int, metrics: dict) -> None:
        """Record that the validation after ``epoch`` epochs is done."""
        values = {k: _plain(v) for k, v in (metrics or {}).items()}
        text = json.dumps(dict(epoch=epoch, metrics=values), indent=1)
        write_atomically(self.path, text.encode())

    def epoch(self) -> int | None:
        """After how many epochs it was; None if there was none."""
        try:
            return int(json.loads(self.path.read_text())['epoch'])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def forget(self) -> None:
        """A new run begins in this work dir."""
        self.path.unlink(missing_ok=True)


def _plain(value: Any) -> object:
    try:
        return float(value)
    except (TypeError, ValueError):
        return str(value)


@HOOKS.register_module()
class PositionHook(Hook):
    """Put the position inside training into checkpoints, and take it from them.

    :class:`~mmreid_gcl.engine.ResumableTrainLoop` registers it by itself. A
    checkpoint between two steps of the optimiser (an epoch that is no multiple
    of ``accumulative_counts``) also keeps the gradients gathered so far.
    """

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Add the position, and gradients that wait for their step."""
        resumable = 'optimizer' in checkpoint
        position = runner.train_loop.position(checkpoint['meta'], resumable)
        checkpoint[_POSITION] = position.to_dict()
        buffers = runner.train_loop.take_buffers()
        if not resumable:  # weights to use: nothing goes on from here
            return
        if buffers:
            checkpoint[_BUFFERS] = buffers
        wrapper = runner.optim_wrapper
        if isinstance(wrapper, OptimWrapper) and not wrapper.should_update():
            checkpoint[_GRADIENTS] = {
                name: parameter.grad.detach().cpu().clone()
                for name, parameter in _parameters(runner)
                if parameter.grad is not None
            }

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Continue at the position of the checkpoint that is resumed."""
        if not runner._resume:
            return
        if _POSITION in checkpoint:
            position = Position(**checkpoint[_POSITION])
            runner.train_loop.resume_at(
                position, checkpoint['meta'], checkpoint.get(_BUFFERS, [])
            )
        gradients = checkpoint.get(_GRADIENTS, {})
        for name, parameter in _parameters(runner):
            if name in gradients:
                parameter.grad = gradients[name].to(parameter)


def _parameters(runner: Runner):
    return unwrapped(runner.model).named_parameters()
