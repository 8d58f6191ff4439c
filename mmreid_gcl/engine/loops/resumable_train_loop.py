# SPDX-License-Identifier: Apache-2.0
"""ResumableTrainLoop: a training loop that can stop and resume inside an epoch."""

from __future__ import annotations

import bisect
import os.path as osp
import re
from collections.abc import Iterator, Sequence
from functools import partial

from mmengine import dist
from mmengine.optim import OptimWrapper
from mmengine.runner import EpochBasedTrainLoop
from torch.utils.data import DataLoader

from mmreid_gcl.datasets.samplers.pk_draw import fill_batch_size
from mmreid_gcl.processes import Vote, highest, on_rank_zero, together, unwrapped
from mmreid_gcl.registry import LOOPS
from mmreid_gcl.work_dir import point_to, release

from ..checkpoint_files import ATOMIC, INTERRUPTED
from ..hooks.position_hook import Position, PositionHook, ValidationRecord
from ..signals import (
    EXIT_PREEMPTED,
    DeferredDeaths,
    Preempted,
    StopSignals,
    end_workers,
    make_patient,
)

_GO, _STOP, _FAILED = 0, 1, 2


@LOOPS.register_module()
class ResumableTrainLoop(EpochBasedTrainLoop):
    """mmengine's ``EpochBasedTrainLoop``, safe against interruption.

    - Asked to stop (SIGTERM, SIGINT), the process finishes the step, writes
      ``interrupted.pth``, points ``last_checkpoint`` to it, and ends with code 75.
      ``--resume`` goes on with the next batch. Several processes finish the next
      step too: they agree on where to stop while that one runs, so that the
      exchange costs no time.
    - The same file is written when a batch cannot be loaded: an image is gone, a
      worker was killed.
    - A validation that a killed run owed is run first after a resume.

    A batch is fetched before the step of the one before it, not after, so two are in
    memory. With ``num_workers=0`` it is loaded then: a data set whose images depend on
    what hooks do after a step sees that one step late, and the time of loading, which
    the log calls ``data_time``, is that of the next batch.

    A sampler with the attribute ``skip_batches``
    (:class:`~mmreid_gcl.datasets.PKSampler`) skips what is done; with another
    one the batches are loaded and dropped.

    Args:
        runner (Runner): The runner.
        dataloader (DataLoader | dict): Of the training set.
        stop_signals (Sequence[str]): What asks for a stop. Defaults to
            ``('SIGTERM', 'SIGINT')``.
        **kwargs: ``max_epochs``, ``val_begin``, ``val_interval`` and
            ``dynamic_intervals`` of mmengine's loop.

    Raises:
        ValueError: If there is no such signal.
    """

    def __init__(
        self,
        runner,
        dataloader: DataLoader | dict,
        stop_signals: Sequence[str] = ('SIGTERM', 'SIGINT'),
        **kwargs,
    ) -> None:
        if isinstance(dataloader, dict):
            fill_batch_size(dataloader, runner.world_size)
        super().__init__(runner, dataloader, **kwargs)
        self._signals = StopSignals(stop_signals)
        self._record = ValidationRecord(runner.work_dir)
        self._resumed: Position | None = None
        self._epoch_start = 0
        self._inside_epoch = False
        self._validation_owed = False
        self._on_disk: tuple[int, int] | None = (0, 0)  # nothing to lose yet
        self._buffers: list[dict] = []  # of the checkpoint being written
        self._resumed_buffers: list[dict] = []  # of the one that is resumed
        self._vote: Vote | None = None
        runner.register_hook(PositionHook(), priority='VERY_HIGH')

    @property
    def inside_epoch(self) -> bool:
        """Whether this epoch's labels and memories are the ones in use."""
        return self._inside_epoch

    @property
    def resumes_inside_epoch(self) -> bool:
        """Whether the coming epoch continues one that was interrupted."""
        return self._resumed is not None and self._resumed.inside_epoch

    def position(self, meta: dict, resumable: bool) -> Position:
        """Where a checkpoint with this ``meta`` is, to be put into it.

        If a run can go on from it (``resumable``), this one has nothing to lose then.
        """
        if resumable:
            self._on_disk = (meta['epoch'], meta['iter'])
        if not self._inside_epoch:
            return Position(0, False, len(self.dataloader), self._validation_owed)
        batch = meta['iter'] - self._epoch_start
        return Position(batch, True, len(self.dataloader))

    def collect(self) -> None:
        """Bring together what the processes do not share, for a checkpoint.

        To be called on all of them before rank 0 writes one. Inside an epoch
        each has its own running statistics of the backbone, and between two
        steps of the optimiser its own gradients, which are averaged: what DDP
        does with them in the end.
        """
        if not dist.is_distributed():
            return
        wrapper = self.runner.optim_wrapper
        if isinstance(wrapper, OptimWrapper) and not wrapper.should_update():
            parameters = self._model().parameters()
            gradients = [p.grad for p in parameters if p.grad is not None]
            dist.all_reduce_params(gradients, op='mean')
        if self._inside_epoch:
            own = {name: value.cpu() for name, value in self._model().named_buffers()}
            of_all = dist.all_gather_object(own)
            if dist.is_main_process():  # who writes
                self._buffers = of_all

    def take_buffers(self) -> list[dict]:
        """What :meth:`collect` found, a dict of buffers for each rank."""
        buffers, self._buffers = self._buffers, []
        return buffers

    def resume_at(self, position: Position, meta: dict, buffers: list[dict]) -> None:
        """Continue from a checkpoint's position, ``meta`` and the ranks' ``buffers``.

        With another number of processes than then, the buffers of rank 0 serve. A
        position inside an epoch of another length is a ``ValueError``.
        """
        if position.inside_epoch and position.num_batches != len(self.dataloader):
            raise ValueError(
                f'The checkpoint was taken after batch {position.batch} of '
                f'{position.num_batches} of its epoch, but an epoch now has '
                f'{len(self.dataloader)} batches. Resume with the number it had, or '
                'from a checkpoint at the end of an epoch.'
            )
        self._resumed = position
        self._on_disk = (meta['epoch'], meta['iter'])
        if len(buffers) == dist.get_world_size():
            self._resumed_buffers = buffers

    def _model(self):
        return unwrapped(self.runner.model)

    def run(self):
        """Train; asked to stop, this ends with :class:`Preempted`, a ``SystemExit``.

        A ``RuntimeError`` if data cannot be loaded (the state is saved), a
        ``ValueError`` if the processes do not begin at the same place.
        """
        self._begin_together()
        self._vote = Vote()
        make_patient(self.dataloader)
        if self.runner.val_loop is not None:
            make_patient(self.runner.val_loop.dataloader)
        with self._signals:
            try:
                return self._run()
            except Preempted as stop:
                self.runner.logger.warning(self._farewell(str(stop)))
                raise
            finally:  # also where Python goes on, in a notebook
                release()

    def _begin_together(self) -> None:
        """Refuse a resume from a checkpoint that not all processes have found."""
        places = dist.all_gather_object((self._epoch, self._iter))
        if len(set(places)) > 1:
            text = '; '.join(
                f'rank {rank}: epoch {epoch + 1}, after {done} iterations'
                for rank, (epoch, done) in enumerate(places)
            )
            raise ValueError(
                f'The processes would begin at different places ({text}). --resume '
                'needs a work dir that all machines see, with the same checkpoint.'
            )

    def _run(self):
        self.runner.call_hook('before_train')
        if self._resumed is None:
            if self._iter == 0:
                on_rank_zero(self._record.forget)
        elif self._is_validation_owed(self._resumed):
            self.runner.logger.info(
                f'The resumed run owes the validation of epoch {self._epoch}.'
            )
            self._validation_owed = True
            self._validate()
        while self._epoch < self._max_epochs and not self.stop_training:
            self.run_epoch()
            self._decide_current_val_interval()
            if self._is_validation_due(self._epoch):
                self._validate()
        self._stop_if_asked()
        with self._interruptible():  # a hook may embed and cluster once more
            self.runner.call_hook('after_train')
        return self.runner.model

    def run_epoch(self) -> None:
        """Iterate one epoch, or the rest of one."""
        self._stop_if_asked()
        resumed = self._resumed if self.resumes_inside_epoch else None
        first = resumed.batch if resumed else 0
        self._epoch_start = self._iter - first
        self._skip(first)
        if self._resumed_buffers:
            own = self._resumed_buffers[dist.get_rank()]
            for name, value in self._model().named_buffers():
                value.copy_(own[name])
            self._resumed_buffers = []
        try:
            with self._interruptible():
                self.runner.call_hook('before_train_epoch')
        except Exception:
            if not (self._is_saved() or dist.is_distributed()):
                self.runner.logger.error(f'The state is saved to {self._save()}.')
            raise
        self._resumed = None
        self._inside_epoch = True
        self.runner.model.train()
        batches = self._batches(first)
        try:
            self._run_batches(batches, first)
        except BaseException:
            end_workers(batches)
            raise
        self._skip(0)
        self._inside_epoch = False
        self._validation_owed = self._is_validation_due(self._epoch + 1)
        self.runner.call_hook('after_train_epoch')
        self._epoch += 1

    def _run_batches(self, batches: Iterator, first: int) -> None:
        """Run each batch while the processes agree about the one after it."""
        with DeferredDeaths() as deaths:

            def fetch() -> tuple[object, Exception | None]:
                data_batch, error = None, None
                try:
                    with deaths.delivered():
                        data_batch = next(batches)
                except Exception as raised:
                    error = raised
                stop = self._signals.received is not None
                assert self._vote is not None  # since run()
                self._vote.cast(
                    _FAILED if error is not None else _STOP if stop else _GO
                )
                return data_batch, error

            last = len(self.dataloader) - 1
            upcoming = fetch() if first <= last else None
            for idx in range(first, last + 1):
                assert upcoming is not None
                data_batch, error = upcoming
                self._go_on_or_end(idx, error)
                if idx < last:
                    upcoming = fetch()
                self.run_iter(idx, data_batch)

    def _batches(self, first: int) -> Iterator:
        batches = iter(self.dataloader)
        if first and not hasattr(self.dataloader.sampler, 'skip_batches'):
            self.runner.logger.warning(
                f'{type(self.dataloader.sampler).__name__} cannot skip: '
                f'{first} batches are loaded and dropped.'
            )
            for _ in range(first):
                next(batches)
        return batches

    def _skip(self, count: int) -> None:
        if hasattr(self.dataloader.sampler, 'skip_batches'):
            self.dataloader.sampler.skip_batches = count

    def _interruptible(self):
        """A block in which a signal may end the process at once.

        With several processes it may not: the others would wait for this one.
        """
        return self._signals.at_once(self._is_saved() and not dist.is_distributed())

    def _is_saved(self) -> bool:
        return self._on_disk == (self._epoch, self._iter)

    def _stop_if_asked(self) -> None:
        """Between two epochs, or before a validation."""
        if highest(int(self._signals.received is not None)):
            if not self._is_saved():
                self._save()
            raise Preempted(self._signals.received or 'a signal to another process')

    def _go_on_or_end(self, idx: int, error: Exception | None) -> None:
        """Take the next step, or end as the processes agreed."""
        assert self._vote is not None  # since run()
        verdict = self._vote.result()
        if not dist.is_distributed() and self._signals.received is not None:
            verdict = max(verdict, _STOP)  # nobody has to be waited for
        if verdict == _GO:
            return
        path = self._save()
        if verdict == _STOP:
            raise Preempted(self._signals.received or 'a signal to another process')
        where = f'epoch {self._epoch + 1}, batch {idx + 1} of {len(self.dataloader)}'
        saved = f'The state before it is in {path}; --resume goes on there.'
        if error is None:
            raise RuntimeError(
                f'Another process could not load its part of {where}; its log says '
                f'why. {saved}'
            )
        raise RuntimeError(
            f'The images of {where} could not be loaded: {_cause(error)}\n{saved}'
        ) from error

    def _save(self) -> str:
        """Write where we are, for ``--resume``; returns the path."""
        runner = self.runner
        path = osp.join(runner.work_dir, INTERRUPTED)
        meta = dict(epoch=self._epoch, iter=self._iter)
        self.collect()

        def save() -> None:
            runner.save_checkpoint(
                runner.work_dir,
                INTERRUPTED,
                meta=meta,
                by_epoch=False,
                backend_args=dict(backend=ATOMIC),
            )
            if dist.is_main_process():
                point_to(runner.work_dir, path)

        together(save)
        return path

    def _validate(self) -> None:
        self._stop_if_asked()
        with self._interruptible():
            metrics = self.runner.val_loop.run()
        self._validation_owed = False
        on_rank_zero(partial(self._record.write, self._epoch, metrics))

    def _is_validation_owed(self, resumed: Position) -> bool:
        """Whether the run that is resumed was to validate and has not."""
        if not resumed.validation_owed or self.runner.val_loop is None:
            return False
        mine = dist.is_main_process() and self._record.epoch() == self._epoch
        return not highest(int(mine))

    def _is_validation_due(self, epoch: int) -> bool:
        """Whether a validation follows when ``epoch`` epochs are done."""
        step = bisect.bisect(self.dynamic_milestones, epoch + 1)
        interval = self.dynamic_intervals[step - 1]
        return (
            self.runner.val_loop is not None
            and epoch >= self.val_begin
            and (epoch % interval == 0 or epoch == self._max_epochs)
        )

    def _farewell(self, reason: str) -> str:
        where = f'epoch {self._epoch + 1}, after iteration {self._iter} of the run'
        return (
            f'{reason}: training stops in {where}. --resume in the same work dir '
            f'continues there. Exit code {EXIT_PREEMPTED}.'
        )


def _cause(error: Exception) -> str:
    """What a loader's error comes from, without the traceback of the worker."""
    text = str(error).strip()
    if 'Original Traceback' in text:
        # behind the last frame; it may have several lines, as those of OpenCV
        text = re.split(r'^  File ".*\n(?: {4}.*\n)*', text, flags=re.MULTILINE)[-1]
    elif 'DataLoader worker' in text:
        return (
            f'{text.splitlines()[0].strip()} A loading process that ends like this was '
            'mostly killed for memory: lower num_workers or batch_size, or free memory.'
        )
    return ' '.join(text.split()) or type(error).__name__
