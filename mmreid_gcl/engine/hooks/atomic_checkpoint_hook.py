# SPDX-License-Identifier: Apache-2.0
"""AtomicCheckpointHook: atomic checkpoints, and checks before a resume."""

from __future__ import annotations

import os.path as osp
from functools import partial
from pathlib import Path

from mmengine import dist
from mmengine.hooks import CheckpointHook
from mmengine.runner import BaseLoop, Runner

from mmreid_gcl.checkpoint import (
    TRAINING_STATE,
    drop_classifier,
    hint_of_good,
    misfit,
    weights_of,
)
from mmreid_gcl.files import remove_partial
from mmreid_gcl.processes import together, unwrapped
from mmreid_gcl.registry import HOOKS
from mmreid_gcl.work_dir import claim, last_checkpoint, note_start, point_to, release

from ..checkpoint_files import ATOMIC, INTERRUPTED


@HOOKS.register_module()
class AtomicCheckpointHook(CheckpointHook):
    """mmengine's ``CheckpointHook``, safe against crashes.

    A checkpoint and the file ``last_checkpoint`` are replaced in one step when
    they are on the disk; older ones are deleted after that, not before. If
    rank 0 cannot write, all ranks end with its message. A checkpoint that does
    not belong to the run is refused when it is loaded, and a work dir in which
    another process trains before anything is read or written.

    Args:
        **kwargs: Arguments of mmengine's ``CheckpointHook``.
    """

    # of mmengine's hook
    backend_args: dict | None
    best_ckpt_path: str | None
    best_ckpt_path_dict: dict

    def __init__(self, **kwargs) -> None:
        super().__init__(**kwargs)
        local = '://' not in str(self.out_dir or '')
        if local and self.backend_args is None and self.file_client_args is None:
            self.backend_args = dict(backend=ATOMIC)

    def before_run(self, runner: Runner) -> None:
        """Take the work dir, then find what to resume in it.

        Raises:
            WorkDirError: If another process trains in it, or its
                ``last_checkpoint`` names none.
        """
        if not isinstance(runner._train_loop, BaseLoop):
            return  # a test, which writes no checkpoint
        claim(runner.work_dir)
        if runner._resume and runner._load_from is None:
            runner._load_from = last_checkpoint(runner.work_dir)

    def before_train(self, runner: Runner) -> None:
        """Clear away what a killed run left half written."""
        super().before_train(runner)
        if runner._resume:
            self._find_moved(runner)
        for folder in (runner.work_dir, self.out_dir):
            if '://' not in str(folder):
                claim(folder)
                if dist.is_main_process():
                    remove_partial(folder)
        if dist.is_main_process():
            note_start(runner.work_dir, runner.timestamp)

    def _find_moved(self, runner: Runner) -> None:
        """Take paths of the checkpoint for the files of those names here.

        A run that was moved or copied must not delete files in the old folder.
        """

        def here(path: object) -> str | None:
            name = osp.basename(path) if isinstance(path, str) else ''
            if not name.endswith('.pth'):  # it will be deleted one day
                return None
            return self.file_backend.join_path(self.out_dir, name)

        self.last_ckpt = here(runner.message_hub.runtime_info.get('last_ckpt'))
        if self.save_best and len(self.key_indicators) == 1:
            self.best_ckpt_path = here(self.best_ckpt_path)
        elif self.save_best:
            found = self.best_ckpt_path_dict.items()
            self.best_ckpt_path_dict = {name: here(path) for name, path in found}

    def after_run(self, runner: Runner) -> None:
        """Let others train in the work dir."""
        release()

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Refuse a checkpoint that does not belong here."""
        missing = [key for key in TRAINING_STATE if key not in checkpoint]
        if runner._resume and missing:
            problem = (
                'this is no checkpoint of a training run, it lacks '
                f'{", ".join(missing)}. To start from its weights give it as '
                'load_from, without --resume.'
            )
        else:  # to begin with, some weights of another model are welcome
            begins = isinstance(runner._train_loop, BaseLoop) and not runner._resume
            own = unwrapped(runner.model).state_dict()
            more = begins or runner._resume
            if not more:  # an evaluation: the rule of apis.loading.load_state
                drop_classifier(own, checkpoint, runner._load_from)
            problem = misfit(own, weights_of(checkpoint), part=begins, more=more)
        if problem:
            good = hint_of_good(runner._load_from) if runner._resume else ''
            raise ValueError(f'{runner._load_from}: {problem}{good}')

    def _save_checkpoint(self, runner: Runner) -> None:
        _collect(runner)
        together(partial(super()._save_checkpoint, runner))

    def _save_best_checkpoint(self, runner: Runner, metrics: dict) -> None:
        if self.save_best:  # mmengine then writes the epoch's checkpoint again
            _collect(runner)
        together(partial(super()._save_best_checkpoint, runner, metrics))

    def _save_checkpoint_with_step(self, runner: Runner, step: int, meta: dict):
        outdated = None
        if self.max_keep_ckpts > 0 and step not in list(self.keep_ckpt_ids)[-1:]:
            if len(self.keep_ckpt_ids) == self.max_keep_ckpts:
                outdated = self.keep_ckpt_ids.popleft()
            self.keep_ckpt_ids.append(step)
            runner.message_hub.update_info('keep_ckpt_ids', list(self.keep_ckpt_ids))
        name = self.filename_tmpl.format(step)
        self.last_ckpt = self.file_backend.join_path(self.out_dir, name)
        runner.message_hub.update_info('last_ckpt', self.last_ckpt)
        runner.save_checkpoint(
            self.out_dir,
            name,
            self.file_client_args,
            save_optimizer=self.save_optimizer,
            save_param_scheduler=self.save_param_scheduler,
            meta=meta,
            by_epoch=self.by_epoch,
            backend_args=self.backend_args,
            **self.args,
        )
        if not dist.is_main_process():
            return
        point_to(runner.work_dir, self.last_ckpt)
        if outdated is not None:
            self._remove(self.filename_tmpl.format(outdated))
        (Path(runner.work_dir) / INTERRUPTED).unlink(missing_ok=True)

    def _remove(self, name: str) -> None:
        path = self.file_backend.join_path(self.out_dir, name)
        if self.file_backend.isfile(path):
            self.file_backend.remove(path)
        elif self.file_backend.isdir(path):  # of deepspeed
            self.file_backend.rmtree(path)


def _collect(runner: Runner) -> None:
    if hasattr(runner._train_loop, 'collect'):
        runner._train_loop.collect()
