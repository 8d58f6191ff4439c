# SPDX-License-Identifier: Apache-2.0
"""Where data, model and clustering meet."""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from mmengine import dist
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmreid_gcl.clustering import normalize_by_camera
from mmreid_gcl.clustering.camera_normalization import MODES as CAMERA_NORMS
from mmreid_gcl.precision import exact_float32
from mmreid_gcl.registry import HOOKS, TASK_UTILS

from ..extraction import extract_features
from ..label_free import LabelFreeSignals, label_free_signals
from ..pseudo_labels import PseudoLabels, cluster_embeddings, describe, report
from ..rank_zero import on_rank_zero, shared_seed
from ..step_watch import StepWatch
from ..wrapping import unwrapped

_CHECKPOINT_KEY = 'pseudo_labels'
_MEMORIES_KEY = 'memories'
_RECORDS = ('img_path', 'camid', 'sequence', 'frame')


@HOOKS.register_module()
class PseudoLabelHook(Hook):
    """Cluster the training set before every epoch; update the memories.

    At the start of an epoch it embeds all training images with the test
    transforms, refines the embeddings with GCL on small graphs, clusters them
    on rank 0, and gives the labels to the sampler and the centroids to the
    memories. After a step of the optimiser it lets the heads apply the memory
    update that their loss recorded.

    Args:
        clusterer (dict): Config of a clusterer.
        extract (dict): ``pipeline`` (the test transforms), and optionally
            ``batch_size``, ``num_workers``, ``amp_dtype`` and ``out`` (a file for
            features that do not fit into memory) of
            :func:`~mmreid_gcl.engine.extract_features`; ``tf32=True`` lets a GPU
            round to TF32 there, which changes neighbours (docs/precision.md).
        graphs (dict, optional): Config of a graph builder. Needed if the model
            has a relation neck.
        refine (bool): Cluster the refined embeddings (cluster refinement, CR);
            False clusters x, and the graphs only serve the memory of the
            relation head (models 2 and 4 of table 2). Defaults to True.
        refine_begin (int): First epoch, from 0, that is refined. Defaults to 0.
        compare_unrefined (bool): Where identities are known, cluster x too and
            report both, at the price of a second clustering. Identities only
            reach the report. Defaults to True.
        camera_norm (str, optional): 'mean' subtracts every camera's mean from
            what is clustered and from what the graphs are built from,
            'standardize' also divides by its standard deviation
            (:func:`~mmreid_gcl.clustering.normalize_by_camera`). Cameras are no
            labels. Defaults to None, as in the paper.

    Attributes:
        labels (np.ndarray | None): (N,) those in use, on every rank.
        signals (LabelFreeSignals | None): What the last clustering was worth, on rank
            0; None before the second one, and where the images have changed.

    Raises:
        ValueError: If ``extract`` has no pipeline or ``camera_norm`` is unknown.
    """

    # before the timer, whose times of steps and of loading then leave clustering out
    priority = 'ABOVE_NORMAL'

    def __init__(
        self,
        clusterer: dict,
        extract: dict,
        graphs: dict | None = None,
        refine: bool = True,
        refine_begin: int = 0,
        compare_unrefined: bool = True,
        camera_norm: str | None = None,
    ) -> None:
        if camera_norm not in (None, *CAMERA_NORMS):
            raise ValueError(
                f'PseudoLabelHook: camera_norm must be one of {CAMERA_NORMS} or None, '
                f'got {camera_norm!r}.'
            )
        if not extract.get('pipeline'):
            raise ValueError(
                'PseudoLabelHook: extract needs a pipeline, the test transforms: '
                'extract=dict(pipeline=test_pipeline, batch_size=256).'
            )
        self.clusterer = TASK_UTILS.build(clusterer)
        self.graphs: Callable | None = TASK_UTILS.build(graphs) if graphs else None
        self.extract = {k: v for k, v in extract.items() if k != 'pipeline'}
        self.tf32 = self.extract.pop('tf32', False)
        self.pipeline = extract['pipeline']
        self.refine = refine
        self.refine_begin = refine_begin
        self.compare_unrefined = compare_unrefined
        self.camera_norm = camera_norm
        self.labels: np.ndarray | None = None
        self.signals: LabelFreeSignals | None = None
        self._memories: list[dict] | None = None  # of an interrupted epoch
        self._watch: StepWatch | None = None

    def before_train(self, runner: Runner) -> None:
        """Check that the parts fit, before any time is spent."""
        model = unwrapped(runner.model)
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
        if not hasattr(model, 'memory_heads'):
            raise TypeError(
                f'The model is a {type(model).__name__}, which has no memory_heads. '
                "PseudoLabelHook trains a model like 'UnsupervisedReID'."
            )
        if model.relation_neck is not None and self.graphs is None:
            raise ValueError(
                'The model has a relation_neck, so PseudoLabelHook needs graphs, for '
                "example graphs=dict(type='OrderedGraphs', order='camera_time')."
            )
        _check_same_images(loader.dataset)
        self._watch = StepWatch(runner.optim_wrapper)

    def before_train_epoch(self, runner: Runner) -> None:
        """Embed, refine, cluster; set labels and memories.

        An epoch that continues after an interruption has those it began with:
        the weights have moved since.
        """
        loader = runner.train_loop.dataloader
        if getattr(runner.train_loop, 'resumes_inside_epoch', False):
            self._restore_memories(unwrapped(runner.model))
        else:
            self.make_labels(runner)
        # a resumed run has the seed of its checkpoint by now
        loader.sampler.seed = shared_seed(runner.seed)
        loader.sampler.set_epoch(runner.epoch)
        loader.sampler.set_labels(self.labels)

    def make_labels(self, runner: Runner) -> None:
        """Embed and cluster the training set with the weights of now.

        Sets :attr:`labels`, :attr:`signals` and the memories. To be called on all
        ranks.

        Args:
            runner (Runner): The runner of the training.
        """
        dataset = runner.train_loop.dataloader.dataset
        self._make_labels(runner, unwrapped(runner.model), dataset)

    def _make_labels(self, runner: Runner, model, dataset) -> None:
        view = dataset.with_pipeline(self.pipeline)
        title = f'epoch {runner.epoch + 1}: embed'
        with exact_float32(not self.tf32):
            features = extract_features(model, view, title=title, **self.extract)
        outcome = on_rank_zero(partial(self._cluster, runner, features, dataset))
        self._share_labels(outcome, len(dataset))
        on_rank_zero(partial(self._init_memories, model, outcome))
        _share_memories(model)

    def _restore_memories(self, model) -> None:
        if self.labels is None or self._memories is None:
            raise RuntimeError(
                'The checkpoint was taken inside an epoch, but holds no pseudo-labels '
                'and memories of it. Resume from a checkpoint at the end of an epoch.'
            )
        for head, state in zip(model.memory_heads, self._memories):
            head.load_memory_state(state)
        self._memories = None

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
        for head in unwrapped(runner.model).memory_heads:
            if outcome == 'stepped':
                head.apply_update()
            elif outcome == 'skipped':
                head.discard_update()

    def after_train_epoch(self, runner: Runner) -> None:
        """Make the ranks' buffers one, for checkpoint, test and clustering."""
        _average_buffers(unwrapped(runner.model))

    def after_train(self, runner: Runner) -> None:
        """Let go of the optimiser."""
        assert self._watch is not None  # since before_train
        self._watch.close()

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Keep the labels; inside an epoch, the memories too.

        Labels serve an epoch without clusters, and the rest of this one.
        """
        if self.labels is not None:
            checkpoint[_CHECKPOINT_KEY] = torch.from_numpy(self.labels.copy())
        if getattr(runner.train_loop, 'inside_epoch', False):
            heads = unwrapped(runner.model).memory_heads
            checkpoint[_MEMORIES_KEY] = [head.memory_state() for head in heads]

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Take the labels of the run that is resumed."""
        labels = checkpoint.get(_CHECKPOINT_KEY)
        if runner._resume and labels is not None:
            self.labels = labels.cpu().numpy()
            self._memories = checkpoint.get(_MEMORIES_KEY)
            if hasattr(self.clusterer, 'resume'):  # it remembers labels itself
                self.clusterer.resume(self.labels)

    def _cluster(self, runner: Runner, features, dataset) -> PseudoLabels:
        model = unwrapped(runner.model)
        truth = dataset.column('pid')
        truth = truth if (truth >= 0).any() else None
        graphs = None
        if self.graphs is not None:
            records = {name: dataset.column(name) for name in _RECORDS}
            graphs = partial(self.graphs, records=records, epoch=runner.epoch)
        normalize = None
        if self.camera_norm is not None:
            normalize = partial(
                normalize_by_camera,
                camids=dataset.column('camid'),
                mode=self.camera_norm,
            )
        outcome = cluster_embeddings(
            features,
            self.clusterer,
            model.relation_neck,
            graphs,
            refine=self.refine and runner.epoch >= self.refine_begin,
            compare_unrefined=self.compare_unrefined and truth is not None,
            normalize=normalize,
        )
        previous = self.labels
        if previous is not None and len(previous) != len(dataset):
            previous = None  # a resumed run may have other images
        if outcome.labels.max(initial=-1) < 1:  # one cluster has nothing to tell apart
            outcome.set_labels(self._fallback(runner, previous))
        self.signals, stability = None, None
        if previous is not None:
            self.signals = label_free_signals(
                outcome.labels, previous, outcome.silhouette
            )
            stability = self.signals.stability
        scalars = report(outcome, stability, truth)
        runner.logger.info(describe(runner.epoch, scalars, len(dataset)))
        runner.visualizer.add_scalars(
            {f'pseudo_labels/{name}': value for name, value in scalars.items()},
            step=runner.epoch + 1,
        )
        return outcome

    def _fallback(self, runner: Runner, previous: np.ndarray | None) -> np.ndarray:
        if previous is None:
            raise RuntimeError(
                'Clustering found no cluster in the first epoch, or one alone, which '
                'leaves nothing to tell apart. With no cluster raise eps, lower '
                'min_samples, or raise k1; with one lower eps; and check that the '
                f'backbone has pretrained weights. The clusterer: {self.clusterer}.'
            )
        runner.logger.warning(
            f'Epoch {runner.epoch + 1}: clustering found fewer than two clusters; the '
            'labels of the epoch before are kept.'
        )
        return previous

    def _share_labels(self, outcome: PseudoLabels | None, count: int) -> None:
        shared = torch.empty(count, dtype=torch.int64)
        if outcome is not None:
            shared[:] = torch.from_numpy(outcome.labels)
        dist.broadcast(shared, src=0)
        self.labels = shared.numpy()

    @staticmethod
    def _init_memories(model, outcome: PseudoLabels | None) -> None:
        assert outcome is not None  # on rank 0
        labels = torch.from_numpy(outcome.labels)
        for head, features in zip(
            model.memory_heads, (outcome.features, outcome.refined)
        ):
            head.init_memory(features, labels)


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


def _share_memories(model) -> None:
    """Give rank 0's memories to all, bit by bit the same."""
    if not dist.is_distributed():
        return
    for head in model.memory_heads:
        head.discard_update()  # rank 0 has none since init_memory
        shape = torch.tensor(head.memory.shape)
        dist.broadcast(shape, src=0)
        if not dist.is_main_process():
            head.memory = head.memory.new_empty(*shape.tolist())
        dist.broadcast(head.memory, src=0)


def _check_same_images(dataset) -> None:
    """The ranks embed a part each, so they must mean the same list."""
    if not dist.is_distributed():
        return
    names = [os.path.basename(path) for path in dataset.column('img_path')]
    seen = dist.all_gather_object((len(names), zlib.crc32('\n'.join(names).encode())))
    if len(set(seen)) > 1:
        ranks = '; '.join(
            f'rank {rank}: {count} images, checksum of their names {checksum:08x}'
            for rank, (count, checksum) in enumerate(seen)
        )
        raise ValueError(
            f'The processes see different training images ({ranks}). data_root must '
            'hold the same files on all machines.'
        )
