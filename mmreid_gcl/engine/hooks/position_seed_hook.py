# SPDX-License-Identifier: Apache-2.0
"""PositionSeedHook: seeds the model's randomness before each step."""

from __future__ import annotations

import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmreid_gcl.datasets.seeding import derive_seed
from mmreid_gcl.processes import shared_seed
from mmreid_gcl.registry import HOOKS


@HOOKS.register_module()
class PositionSeedHook(Hook):
    """Seed torch before every iteration by (seed, iteration), and a PK sampler.

    Then what is drawn on the device (the policy 'random' of table 3, dropout)
    is the same after a resume and on every rank. The transforms of an image
    have their own seed, in its :class:`~mmreid_gcl.datasets.SampleIndex`.
    """

    _seed: int | None = None

    def before_train_epoch(self, runner: Runner) -> None:
        """Agree on the seed, which a resumed run has from its checkpoint."""
        self._seed = shared_seed(runner.seed)
        sampler = runner.train_loop.dataloader.sampler
        if hasattr(sampler, 'set_labels'):  # a PKSampler
            sampler.seed = self._seed
            sampler.set_epoch(runner.epoch)

    def before_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict | None = None
    ) -> None:
        """Seed the generators of all devices."""
        seed = runner.seed if self._seed is None else self._seed
        torch.manual_seed(derive_seed(seed, runner.iter))
