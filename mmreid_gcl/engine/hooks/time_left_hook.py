# SPDX-License-Identifier: Apache-2.0
"""TimeLeftHook: time left, with clustering and validation counted."""

from __future__ import annotations

import time
from collections.abc import Sequence

from mmengine.hooks import IterTimerHook
from mmengine.logging import MMLogger
from mmengine.runner import Runner

from mmreid_gcl.environment import calm_screen
from mmreid_gcl.registry import HOOKS


@HOOKS.register_module()
class TimeLeftHook(IterTimerHook):
    """mmengine's timer of steps, whose time left counts what is between epochs, too.

    ``eta`` is the mean time of a step for each step that is left, plus the mean
    time from the last step of an epoch to the start of the next (validation,
    checkpoint, pseudo-labels) for each epoch that is left. ``time`` and
    ``data_time`` are those of steps. It also keeps the list of hooks, and warnings of
    mmengine about itself, from the screen; they are in the log file.
    """

    def __init__(self) -> None:
        super().__init__()
        calm_screen(MMLogger.get_current_instance())

    def before_train(self, runner: Runner) -> None:
        """Begin to measure; the first pseudo-labels count as well."""
        super().before_train(runner)
        self._between: list[float] = []
        self._since = time.time()

    def before_train_epoch(self, runner: Runner) -> None:
        """Take the time since the last step; the timer of steps begins here."""
        super().before_train_epoch(runner)
        self._between.append(self.t - self._since)

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict | None = None,
        outputs: dict | Sequence | None = None,
    ) -> None:
        """Add the epochs' share to the time left."""
        super().after_train_iter(runner, batch_idx, data_batch, outputs)
        self._since = self.t
        hub = runner.message_hub
        mean = sum(self._between) / len(self._between)
        epochs = max(0, runner.max_epochs - runner.epoch - 1)
        hub.update_info('eta', hub.get_info('eta') + mean * epochs)
