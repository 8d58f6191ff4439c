# SPDX-License-Identifier: Apache-2.0
"""The position inside training, in and out of checkpoints."""

from __future__ import annotations

from mmengine.hooks import Hook
from mmengine.optim import OptimWrapper
from mmengine.runner import Runner

from mmreid_gcl.registry import HOOKS

from ..position import Position
from ..processes import unwrapped

_POSITION = 'position'
_GRADIENTS = 'gradients'
_BUFFERS = 'buffers_of_ranks'


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
