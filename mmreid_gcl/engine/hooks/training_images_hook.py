# SPDX-License-Identifier: Apache-2.0
"""TrainingImagesHook: detects that a resumed run has other training images."""

from __future__ import annotations

from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmreid_gcl.datasets.concat_dataset import require_reid_dataset
from mmreid_gcl.datasets.fingerprint import ImagesFingerprint, images_fingerprint
from mmreid_gcl.registry import HOOKS

from .pseudo_label_hook import PseudoLabelHook

_KEY = 'training_images'


@HOOKS.register_module()
class TrainingImagesHook(Hook):
    """Keep a fingerprint of the training images in checkpoints, and compare it.

    Pseudo-labels belong to images by their position. If images came or went since
    the checkpoint, a run that resumes between two epochs is warned, and forgets the
    labels of the epoch before, which belong to other images; one that resumes inside
    an epoch is refused. Also refuses, before any time is spent, a data set
    that cannot be clustered.
    """

    priority = 'HIGH'  # before PseudoLabelHook

    def __init__(self) -> None:
        self._now: ImagesFingerprint | None = None
        self._then: ImagesFingerprint | None = None

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Take the fingerprint of the run that is resumed."""
        found = checkpoint.get(_KEY)
        if runner._resume and isinstance(found, dict):
            self._then = ImagesFingerprint(**found)

    def before_train(self, runner: Runner) -> None:
        """Compare.

        Raises:
            TypeError: If the data set is none of this package.
            ValueError: If the images are others inside an epoch.
        """
        dataset = runner.train_loop.dataloader.dataset
        require_reid_dataset(dataset, 'train_dataloader.dataset')
        self._now = images_fingerprint(dataset)
        if self._then is None or self._then == self._now:
            return
        number = (
            f'{self._then.count:,} images then, {self._now.count:,} now'
            if self._then.count != self._now.count
            else f'{self._now.count:,} images as before, under other names'
        )
        text = f'The training images are not those of the checkpoint: {number}.'
        if getattr(runner.train_loop, 'resumes_inside_epoch', False):
            raise ValueError(
                f'{text} It was taken inside an epoch, whose pseudo-labels belong to '
                'the images of then. Bring them back, or resume from a checkpoint at '
                'the end of an epoch (--resume epoch_<n>.pth).'
            )
        runner.logger.warning(
            f'{text} Training goes on with the ones that are here; stability and the '
            'labels of the epoch before begin anew. If you did not mean this, stop and '
            'check data_root.'
        )
        for hook in runner.hooks:
            if isinstance(hook, PseudoLabelHook):
                hook.labels = None

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Add the fingerprint."""
        if self._now is not None:
            checkpoint[_KEY] = self._now._asdict()
