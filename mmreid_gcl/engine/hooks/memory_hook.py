# SPDX-License-Identifier: Apache-2.0
"""MemoryHook: builds the memories before an epoch, updates them after a step."""

from __future__ import annotations

from functools import partial

import torch
from mmengine import dist
from mmengine.hooks import Hook
from mmengine.optim import OptimWrapper
from mmengine.runner import Runner
from torch import Tensor
from torch.optim import Optimizer

from mmreid_gcl.datasets.reid_dataset import image_records
from mmreid_gcl.models import BaseMemoryHead
from mmreid_gcl.processes import on_rank_zero, unwrapped
from mmreid_gcl.registry import HOOKS

_CHECKPOINT_KEY = 'memories'


@HOOKS.register_module()
class MemoryHook(Hook):
    """Build, update and keep the memories of a model's heads.

    Before an epoch every :class:`~mmreid_gcl.models.BaseMemoryHead` of the model
    builds its memory from the embeddings and labels that
    :class:`~mmreid_gcl.engine.PseudoLabelHook` made. After a step of the optimiser
    it applies the update that its loss recorded; after a step that was skipped it
    forgets it. Checkpoints inside an epoch hold the memories.
    """

    # after PseudoLabelHook, and before the timer for the same reason
    priority = 45

    def __init__(self) -> None:
        self._resumed: list[dict] | None = None  # of an interrupted epoch
        self._watch: StepWatch | None = None

    def before_train(self, runner: Runner) -> None:
        """Check the heads, watch the optimiser."""
        model = unwrapped(runner.model)
        if not _heads(model):
            raise TypeError(
                f'The model is a {type(model).__name__} without a head that keeps a '
                'memory. MemoryHook trains a model like UnsupervisedReID with a '
                'BaseMemoryHead; without one, leave the hook out '
                '(default_hooks.memory=None).'
            )
        sampler = runner.train_loop.dataloader.sampler
        for head in _heads(model):
            if getattr(sampler, 'outliers', head.outliers) != head.outliers:
                raise ValueError(
                    f'{type(head).__name__} needs sampler=dict(outliers='
                    f'{head.outliers!r}), got {sampler.outliers!r}.'
                )
        self._watch = StepWatch(runner.optim_wrapper)

    def before_train_epoch(self, runner: Runner) -> None:
        """Build the memories, or take those of the epoch that continues.

        Raises:
            RuntimeError: If there are no embeddings and labels to build them from.
        """
        heads = _heads(unwrapped(runner.model))
        if getattr(runner.train_loop, 'resumes_inside_epoch', False):
            self._restore(heads)
            return
        on_rank_zero(partial(_build, runner, heads))
        for head in heads:
            _share(head)

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict | None = None,
        outputs: dict | None = None,
    ) -> None:
        """Apply the recorded memory updates if the optimiser took the step."""
        assert self._watch is not None  # since before_train
        outcome = self._watch.outcome()
        for head in _heads(unwrapped(runner.model)):
            if outcome == 'stepped':
                head.apply_update()
            elif outcome == 'skipped':
                head.discard_update()

    def after_train(self, runner: Runner) -> None:
        """Let go of the optimiser."""
        assert self._watch is not None  # since before_train
        self._watch.close()

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Inside an epoch, keep the memories."""
        if getattr(runner.train_loop, 'inside_epoch', False):
            heads = _heads(unwrapped(runner.model))
            checkpoint[_CHECKPOINT_KEY] = [head.memory_state() for head in heads]

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Take the memories of the run that is resumed."""
        if runner._resume:
            self._resumed = checkpoint.get(_CHECKPOINT_KEY)

    def _restore(self, heads: list[BaseMemoryHead]) -> None:
        if self._resumed is None:
            raise RuntimeError(
                'The checkpoint was taken inside an epoch, but holds no pseudo-labels '
                'and memories of it. Resume from a checkpoint at the end of an epoch.'
            )
        states = [state.keys() for state in self._resumed]
        if states != [{*head.memories, 'recorded'} for head in heads]:
            raise ValueError(
                'The checkpoint was taken inside an epoch of a model with other memory '
                'heads. Resume with its config, or from the end of an epoch.'
            )
        for head, state in zip(heads, self._resumed):
            head.load_memory_state(state)
        self._resumed = None


class StepWatch:
    """Tells whether the optimiser stepped since it was last asked.

    With gradient accumulation most iterations have no step, and a gradient scaler skips
    the step when it finds a gradient that is not finite.
    """

    def __init__(self, optim_wrapper: OptimWrapper) -> None:
        self._wrapper = optim_wrapper
        self._stepped = False
        self._handle = optim_wrapper.optimizer.register_step_post_hook(self._mark)

    def _mark(self, optimizer: Optimizer, args: tuple, kwargs: dict) -> None:
        # A fused optimiser is called even when the scaler found an overflow,
        # and looks at this flag on the device.
        found_inf = getattr(optimizer, 'found_inf', None)
        self._stepped = found_inf is None or not bool(found_inf)

    def outcome(self) -> str:
        """'stepped', 'skipped' (there should have been a step), or 'accumulating'."""
        stepped, self._stepped = self._stepped, False
        if stepped:
            return 'stepped'
        return 'skipped' if self._wrapper.should_update() else 'accumulating'

    def close(self) -> None:
        """Stop watching."""
        self._handle.remove()


def _heads(model) -> list[BaseMemoryHead]:
    return [head for head in model.modules() if isinstance(head, BaseMemoryHead)]


def _build(runner: Runner, heads: list[BaseMemoryHead]) -> None:
    outcomes = [getattr(hook, 'outcome', None) for hook in runner.hooks]
    outcome = next((found for found in outcomes if found is not None), None)
    if outcome is None:
        raise RuntimeError(
            'MemoryHook has no embeddings and labels to build memories from. Add '
            "default_hooks = dict(pseudo_labels=dict(type='PseudoLabelHook', ...))."
        )
    labels = torch.from_numpy(outcome.labels)
    records = image_records(runner.train_loop.dataloader.dataset)
    for head in heads:
        if head.feature not in outcome.features:
            raise ValueError(
                f'{type(head).__name__} works on the feature {head.feature!r}; of the '
                f'training set there are {", ".join(outcome.features)}. A relation '
                "feature needs the model's relation_neck."
            )
        head.init_memory(outcome.features[head.feature], labels, records)


def _share(head: BaseMemoryHead) -> None:
    """Give rank 0's memory to all, bit by bit the same."""
    if not dist.is_distributed():
        return
    own = head.memory_tensors() if dist.is_main_process() else {}
    shapes = [{name: (tuple(t.shape), t.dtype) for name, t in own.items()}]
    dist.broadcast_object_list(shapes, src=0)
    shared: dict[str, Tensor] = {}
    for name, (shape, dtype) in shapes[0].items():
        tensor = own.get(name, torch.empty(shape, dtype=dtype, device=head.device))
        dist.broadcast(tensor, src=0)
        shared[name] = tensor
    head.set_memory_tensors(shared)
