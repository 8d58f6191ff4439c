# SPDX-License-Identifier: Apache-2.0
"""PseudoLabelHook: makes the pseudo-labels before every epoch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import numpy as np
import torch
from mmengine import dist
from mmengine.hooks import EMAHook, Hook
from mmengine.runner import Runner
from torch import nn

from mmreid_gcl.clustering import BaseClusterer, Labeller, PseudoLabels, collapse
from mmreid_gcl.config_parts import find_test_pipeline
from mmreid_gcl.datasets.concat_dataset import require_reid_dataset
from mmreid_gcl.datasets.fingerprint import images_fingerprint
from mmreid_gcl.datasets.reid_dataset import image_records
from mmreid_gcl.datasets.samplers.pk_draw import require_batch
from mmreid_gcl.precision import exact_float32
from mmreid_gcl.processes import on_rank_zero, shared_seed, unwrapped
from mmreid_gcl.registry import HOOKS

from ..extraction import extract_features
from ..label_report import LabelFreeSignals, describe, label_free_signals, report
from .memory_hook import MemoryHook

_CHECKPOINT_KEY = 'pseudo_labels'
_CLUSTERER_KEY = 'clusterer'
_SCALARS_KEY = 'pseudo_label_scalars'


@HOOKS.register_module()
class PseudoLabelHook(Hook):
    """Cluster the training set before every epoch and give the labels to the sampler.

    It embeds all training images with the test transforms, and rank 0 makes labels of
    them (:class:`~mmreid_gcl.clustering.Labeller`).
    :class:`~mmreid_gcl.engine.MemoryHook` builds the memories from the outcome.

    Args:
        clusterer (dict | Callable): As of the labeller, like ``graphs``, ``refine``,
            ``refine_begin``, ``compare_unrefined`` (where identities are known, for the
            report alone) and ``camera_norm``.
        extract (dict, optional): ``pipeline``, by default the test transforms of the
            config; ``batch_size``, ``num_workers``, ``amp_dtype`` and ``out`` (a file
            for features that do not fit into memory) of
            :func:`~mmreid_gcl.engine.extract_features`; ``tf32=True`` lets a GPU
            round to TF32 there, which changes neighbours (docs/precision.md).
            ``flip=True`` averages the embeddings of an image and its mirror image;
            ``ema=True`` embeds and refines by the averaged weights of mmengine's
            ``EMAHook``, a mean teacher.

    Attributes:
        labeller (Labeller): The recipe.
        labels (np.ndarray | None): (N,) those in use, on every rank.
        outcome (PseudoLabels | None): The last clustering with its features, on
            rank 0, until the first step of the epoch.
        signals (LabelFreeSignals | None): What the last clustering was worth, on rank
            0; None before the second one, and where the images have changed.
        scalars (dict[str, float]): What curves show of the last clustering, on rank 0.

    Raises:
        ValueError: If ``camera_norm`` is unknown, or a part cannot be built.
    """

    # before the timer, whose times of steps and of loading then leave clustering out
    priority = 'ABOVE_NORMAL'

    def __init__(
        self,
        clusterer: dict | Callable,
        extract: dict | None = None,
        graphs: dict | Callable | None = None,
        refine: bool = True,
        refine_begin: int = 0,
        compare_unrefined: bool = True,
        camera_norm: str | None = None,
    ) -> None:
        self.labeller = Labeller(
            clusterer, graphs, refine, refine_begin, compare_unrefined, camera_norm
        )
        self.extract = dict(extract or {})
        self.pipeline = self.extract.pop('pipeline', None)
        self.tf32 = self.extract.pop('tf32', False)
        self.flip = self.extract.pop('flip', False)
        self.ema = self.extract.pop('ema', False)
        self.labels: np.ndarray | None = None
        self.outcome: PseudoLabels | None = None
        self.signals: LabelFreeSignals | None = None
        self.scalars: dict[str, float] = {}

    def before_run(self, runner: Runner) -> None:
        """Add the hook of the memories to configs of before there were two."""
        if not any(isinstance(hook, MemoryHook) for hook in runner.hooks):
            runner.logger.warning(
                'The config has a PseudoLabelHook and no MemoryHook, so one is added. '
                "Write default_hooks = dict(pseudo_labels=dict(type='PseudoLabelHook', "
                "...), memory=dict(type='MemoryHook')) instead of custom_hooks."
            )
            runner.register_hook(MemoryHook())

    def before_train(self, runner: Runner) -> None:
        """Check that the parts fit, before any time is spent."""
        loader = runner.train_loop.dataloader
        sampler = loader.sampler
        if not hasattr(sampler, 'set_labels'):
            raise TypeError(
                f'train_dataloader.sampler is a {type(sampler).__name__}, which takes '
                "no labels. Use sampler=dict(type='PKSampler', ...)."
            )
        if loader.batch_size != sampler.batch_size:
            raise ValueError(
                f'train_dataloader.batch_size is {loader.batch_size}, but a batch of '
                f'{sampler.num_identities} identities x {sampler.num_instances} images '
                f'on {dist.get_world_size()} process(es) is {sampler.batch_size} '
                f"images for each. Set batch_size={sampler.batch_size}, or 'auto' with "
                'tools/train.py.'
            )
        if loader.batch_size * dist.get_world_size() == 1:
            counts = sampler.num_identities, sampler.num_instances
            require_batch('train_dataloader.sampler.', *counts)
        if getattr(sampler, 'with_identities', False):
            raise ValueError(
                "The sampler has labels='pid', so nothing is clustered. Leave the hook "
                'out (default_hooks.pseudo_labels=None), or those labels.'
            )
        require_reid_dataset(loader.dataset, 'train_dataloader.dataset')
        if self._has_relation_neck(runner):
            self.labeller.require_graphs()
        loader.dataset.full_init()
        if isinstance(self.labeller.clusterer, BaseClusterer):
            self.labeller.clusterer.check(image_records(loader.dataset))
        self._check_times(runner, loader.dataset)
        if self.pipeline is None:
            self.pipeline = find_test_pipeline(runner.cfg)
        _check_same_images(loader.dataset)

    def _check_times(self, runner: Runner, dataset) -> None:
        """Warn where graphs follow an order that may be none of time."""
        if not dataset.times_from_names:
            return
        if getattr(self.labeller.clusterer, 'cannot_link', False):
            runner.logger.warning(
                'Nothing gives the time of the training images, so two tracks of one '
                'moment cannot be told: cannot_link does nothing. Give a pattern or a '
                'table with times; if the order of names is that of time, '
                'order_by_name=True says so.'
            )
        if self.labeller.uses_time and self._has_relation_neck(runner):
            runner.logger.warning(
                'Nothing gives the time of the training images, so the natural order '
                'of their names is taken for it, and the graphs follow that. If names '
                'begin with an identity, it puts images of one person side by side: '
                'give a pattern or a table with times, or order_by_name=False. If the '
                'names are right, order_by_name=True says so.'
            )

    def before_train_epoch(self, runner: Runner) -> None:
        """Embed, refine, cluster; set the labels of the sampler.

        An epoch that continues after an interruption has those it began with:
        the weights have moved since.
        """
        loader = runner.train_loop.dataloader
        if not getattr(runner.train_loop, 'resumes_inside_epoch', False):
            self.make_labels(runner)
        elif self.scalars:  # the log of before may be elsewhere, or lost
            on_rank_zero(partial(self.add_scalars, runner, self.scalars))
        # a resumed run has the seed of its checkpoint by now
        loader.sampler.seed = shared_seed(runner.seed)
        loader.sampler.set_epoch(runner.epoch)
        loader.sampler.set_labels(self.labels)

    def before_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict | None = None
    ) -> None:
        """Let go of the features."""
        self.outcome = None

    def make_labels(self, runner: Runner) -> None:
        """Embed and cluster the training set with the weights of now.

        Sets :attr:`labels`, :attr:`outcome` and :attr:`signals`. To be called on all
        ranks.

        Args:
            runner (Runner): The runner of the training.
        """
        dataset = runner.train_loop.dataloader.dataset
        view = dataset.with_pipeline(self.pipeline)
        title = f'epoch {runner.epoch + 1}: embed'
        model = self.model(runner)
        with exact_float32(not self.tf32), _flipping(model, self.flip):
            features = extract_features(model, view, title=title, **self.extract)
        self.outcome = on_rank_zero(partial(self._label, runner, features, dataset))
        shared = torch.empty(len(dataset), dtype=torch.int64)
        if self.outcome is not None:
            shared[:] = torch.from_numpy(self.outcome.labels)
        dist.broadcast(shared, src=0)
        self.labels = shared.numpy()

    def add_scalars(self, runner: Runner, scalars: dict[str, float]) -> None:
        """Give curves a clustering's scalars, which a checkpoint then keeps.

        Args:
            runner (Runner): The runner of the training.
            scalars (dict[str, float]): By their names after ``pseudo_labels/``.
        """
        self.scalars.update(scalars)
        runner.visualizer.add_scalars(
            {f'pseudo_labels/{name}': value for name, value in scalars.items()},
            step=runner.epoch + 1,
        )

    def after_train_epoch(self, runner: Runner) -> None:
        """Make the ranks' buffers one, for checkpoint, test and clustering."""
        _average_buffers(unwrapped(runner.model))
        if self.ema:
            _average_buffers(self.model(runner))

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Keep the labels: for an epoch without clusters, and the rest of this one."""
        if self.labels is not None:
            checkpoint[_SCALARS_KEY] = dict(self.scalars)
            checkpoint[_CHECKPOINT_KEY] = torch.from_numpy(self.labels.copy())
            clusterer = self.labeller.clusterer
            if isinstance(clusterer, BaseClusterer) and clusterer.state():
                checkpoint[_CLUSTERER_KEY] = clusterer.state()

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Take the labels of the run that is resumed."""
        labels = checkpoint.get(_CHECKPOINT_KEY)
        if runner._resume and labels is not None:
            self.labels = labels.cpu().numpy()
            self.scalars = dict(checkpoint.get(_SCALARS_KEY, {}))
            clusterer = self.labeller.clusterer
            if isinstance(clusterer, BaseClusterer):
                clusterer.resume(self.labels, checkpoint.get(_CLUSTERER_KEY, {}))
            elif hasattr(clusterer, 'resume'):  # of before there was a base class
                clusterer.resume(self.labels)

    def _has_relation_neck(self, runner: Runner) -> bool:
        return getattr(unwrapped(runner.model), 'relation_neck', None) is not None

    def model(self, runner: Runner) -> nn.Module:
        """The model that embeds: with ``ema`` the one of averaged weights."""
        if not self.ema:
            return unwrapped(runner.model)
        for hook in runner.hooks:
            if isinstance(hook, EMAHook):
                # before the first step it has not got the model's weights yet
                average = hook.ema_model
                return average.module if average.steps else unwrapped(runner.model)
        raise ValueError(
            'PseudoLabelHook has extract=dict(ema=True), and there is no EMAHook. Add '
            "default_hooks = dict(ema=dict(type='EMAHook', momentum=0.01))."
        )

    def _label(self, runner: Runner, features, dataset) -> PseudoLabels:
        truth = dataset.column('pid')
        truth = truth if (truth >= 0).any() else None
        records = image_records(dataset)
        outcome = self.labeller(
            features,
            records,
            getattr(self.model(runner), 'relation_neck', None),
            runner.epoch,
            compare=truth is not None,
        )
        previous = self.labels
        if previous is not None and len(previous) != len(dataset):
            previous = None  # a resumed run may have other images
        when = f'in epoch {runner.epoch + 1}'
        if previous is None:
            when = 'in the first epoch, which leaves nothing to tell apart'
        problem = collapse(outcome.labels, self.labeller.clusterer, when)
        self.signals, stability = None, None
        if problem is not None:
            outcome.labels = self._fallback(runner, problem, previous)
            outcome.silhouette = None  # old labels say nothing of these weights
        elif previous is not None:
            self.signals = label_free_signals(
                outcome.labels, previous, outcome.silhouette, dataset.column('camid')
            )
            stability = self.signals.stability
        scalars = report(outcome, stability, truth, records)
        runner.logger.info(describe(runner.epoch, scalars, len(dataset)))
        self.scalars = {}
        self.add_scalars(runner, scalars)
        return outcome

    def _fallback(
        self, runner: Runner, problem: str, previous: np.ndarray | None
    ) -> np.ndarray:
        if previous is None:
            raise RuntimeError(
                f'{problem} Check that the backbone has pretrained weights.'
            )
        runner.logger.warning(f'{problem} The labels of the epoch before are kept.')
        return previous


@contextmanager
def _flipping(model: nn.Module, flip: bool) -> Iterator[None]:
    """Average the embeddings of images and mirror images inside."""
    if flip and not hasattr(model, 'flip_test'):
        raise TypeError(
            f'extract=dict(flip=True) needs a model like UnsupervisedReID, got a '
            f'{type(model).__name__}.'
        )
    before = getattr(model, 'flip_test', False)
    model.flip_test = flip or before
    try:
        yield
    finally:
        model.flip_test = before


def _average_buffers(model) -> None:
    """Give all ranks the mean; what is the same on all stays so to the bit.

    Sum and quotient of equal numbers are exact in float64, which in their own
    format they are not with three processes.
    """
    if not dist.is_distributed():
        return
    buffers = list(model.buffers())
    means = [buffer.double() for buffer in buffers]
    dist.all_reduce_params(means, op='mean')
    for buffer, mean in zip(buffers, means):
        buffer.copy_(mean)


def _check_same_images(dataset) -> None:
    """The ranks embed a part each, so they must mean the same list."""
    if not dist.is_distributed():
        return
    seen = dist.all_gather_object(images_fingerprint(dataset))
    if len(set(seen)) > 1:
        ranks = '; '.join(
            f'rank {rank}: {found.count} images, checksum of their names '
            f'{found.digest[:8]}'
            for rank, found in enumerate(seen)
        )
        raise ValueError(
            f'The processes see different training images ({ranks}). data_root must '
            'hold the same files on all machines.'
        )
