# SPDX-License-Identifier: Apache-2.0
"""FiniteLossHook: ends training at a loss that is not finite."""

from __future__ import annotations

import os.path as osp
from functools import wraps

import torch
from mmengine.hooks import Hook
from mmengine.optim import OptimWrapper
from mmengine.runner import Runner
from torch import Tensor, nn

from mmreid_gcl.checkpoint import BEFORE_FAILURE, hint_of_good
from mmreid_gcl.models import BaseMemoryHead
from mmreid_gcl.processes import unwrapped
from mmreid_gcl.registry import HOOKS

from ..checkpoint_files import ATOMIC


@HOOKS.register_module()
class FiniteLossHook(Hook):
    """End training at a loss that is NaN or infinite, before its backward pass.

    The weights are still good then: they go to ``before_nonfinite_loss.pth`` in
    the work dir, and resuming from that file repeats the step, bit by bit on a
    CPU: running statistics and memories are those from before its forward pass
    (of rank 0, where there are several processes). Where a gradient scaler is at
    work (float16), it skips such steps; the running statistics, which an overflow
    reaches too, go back to those from before, and only more than ``patience`` such
    losses in a row end the training. Looking at the loss waits for the device.

    Args:
        patience (int): Losses in a row that a gradient scaler may skip.
            Defaults to 10.

    Raises:
        ValueError: If ``patience`` is negative.
    """

    priority = 'VERY_HIGH'

    def __init__(self, patience: int = 10) -> None:
        if patience < 0:
            raise ValueError(f'patience must not be negative, got {patience}.')
        self.patience = patience
        self._in_a_row = 0
        self._buffers: list[Tensor] = []

    def before_train(self, runner: Runner) -> None:
        """Look at every loss on its way to the optimiser."""
        wrapper = runner.optim_wrapper
        if not isinstance(wrapper, OptimWrapper):
            return
        update_params = wrapper.update_params

        @wraps(update_params)
        def checked(loss: Tensor, *args, **kwargs) -> None:
            good = self._check(runner, loss)
            update_params(loss, *args, **kwargs)
            if not good:  # not before: backward has saved the running statistics
                self._restore_buffers(unwrapped(runner.model))

        wrapper.update_params = checked

    def before_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict | None = None
    ) -> None:
        """Keep the running statistics, which the forward pass changes."""
        buffers = list(unwrapped(runner.model).buffers())
        if [b.shape for b in buffers] != [b.shape for b in self._buffers]:
            self._buffers = [buffer.clone() for buffer in buffers]
            return
        pairs = list(zip(self._buffers, buffers))
        for dtype in {buffer.dtype for buffer in buffers}:  # a kernel or two for each
            kept, new = zip(*(pair for pair in pairs if pair[1].dtype == dtype))
            torch._foreach_copy_(kept, new)

    def after_train(self, runner: Runner) -> None:
        """Let go of the optimiser."""
        vars(runner.optim_wrapper).pop('update_params', None)

    def _check(self, runner: Runner, loss: Tensor) -> bool:
        """Whether the loss is finite; False if the scaler will skip the step."""
        if bool(torch.isfinite(loss.detach()).all()):
            self._in_a_row = 0
            return True
        self._in_a_row += 1
        scaler = getattr(runner.optim_wrapper, 'loss_scaler', None)
        scaled = scaler is not None and scaler.is_enabled()
        if scaled and self._in_a_row <= self.patience:
            return False
        raise FloatingPointError(
            f'The loss of epoch {runner.epoch + 1}, iteration {runner.iter + 1} of the '
            f'run is {loss.detach().float().mean().item()}'
            + (f', {self._in_a_row} in a row' if scaled else '')
            + '. Usual reasons: a learning rate that is too high, a temperature that '
            f'is too low, float16. {self._save(runner)}'
        )

    def _save(self, runner: Runner) -> str:
        path = osp.join(runner.work_dir, BEFORE_FAILURE)
        meta = dict(epoch=runner.epoch, iter=runner.iter)
        self._undo_forward(unwrapped(runner.model))
        if not all(
            bool(torch.isfinite(value).all())
            for value in runner.model.state_dict().values()
            if value.is_floating_point()
        ):
            return f'The weights are not finite either.{hint_of_good(path)}'
        try:
            runner.save_checkpoint(
                runner.work_dir,
                BEFORE_FAILURE,
                meta=meta,
                by_epoch=False,
                backend_args=dict(backend=ATOMIC),
            )
        except OSError as error:
            return f'The state could not be saved: {error}'
        return f'The weights before this step are in {path}.{hint_of_good(path)}'

    def _undo_forward(self, model: nn.Module) -> None:
        """Take back what the forward pass left behind, so that it can be repeated."""
        self._restore_buffers(model)
        for head in model.modules():
            if isinstance(head, BaseMemoryHead):
                head.forget_last()

    def _restore_buffers(self, model: nn.Module) -> None:
        for buffer, before in zip(model.buffers(), self._buffers):
            buffer.copy_(before)
