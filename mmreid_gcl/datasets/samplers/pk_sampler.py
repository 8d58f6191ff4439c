# SPDX-License-Identifier: Apache-2.0
"""PK sampling: P clusters with K images each in a batch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from mmengine import dist
from torch.utils.data import Sampler

from mmreid_gcl.labels import outliers_as_classes
from mmreid_gcl.registry import DATA_SAMPLERS

from ..concat_dataset import require_reid_dataset
from ..image_folder import log
from ..seeding import derive_seeds
from .pk_draw import draw_clusters, draw_instances, require_count


class SampleIndex(int):
    """An image's index with the pseudo-label and the random seed of its draw.

    It is an ``int``, so any data set takes it. A
    :class:`~mmreid_gcl.datasets.ReIDDataset` also reads its two attributes.
    They travel from the sampler (main process) to the worker inside the
    index: a persistent worker's old copy of the data set never sees a stale
    label, and an augmentation depends on the position in training alone.

    Args:
        index (int): Position of the image in the data set.
        label (int, optional): Its pseudo-label in this epoch.
        seed (int, optional): Seed of the random transforms of this draw,
            in [0, 2**63).
    """

    label: int | None
    seed: int | None

    def __new__(cls, index: int, label: int | None = None, seed: int | None = None):
        """An int that carries ``label`` and ``seed``."""
        self = super().__new__(cls, index)
        self.label = label
        self.seed = seed
        return self

    def __getnewargs__(self):
        return int(self), self.label, self.seed

    def __repr__(self) -> str:
        return f'SampleIndex({int(self)}, label={self.label}, seed={self.seed})'


@DATA_SAMPLERS.register_module()
class PKSampler(Sampler):
    """P clusters, distinct in a batch, with K images each (Hermans et al. 2017).

    P and K are those of the *global* batch: with several processes each gets
    its part of P * K / world size images, which ``train_dataloader.batch_size``
    must name. What is drawn depends on (seed, epoch, position) alone, so it is
    the same with any number of processes and after a resume.

    Args:
        dataset: The data set. One with ``get_gt_labels()`` (mmpretrain's)
            gives its labels until :meth:`set_labels` is called; one of this
            package gets them from the
            :class:`~mmreid_gcl.engine.PseudoLabelHook` every epoch, unless ``labels``
            says otherwise.
        num_identities (int): P. Defaults to 16.
        num_instances (int): K. Defaults to 8.
        num_batches (int, optional): Batches an epoch, so that the length is
            known before any label is. Defaults to as many as the data set
            fills, at least one.
        labels (str): 'pseudo': those of :meth:`set_labels`. 'pid': the identities of a
            data set of this package, for training with labels. Defaults to 'pseudo'.
        outliers (str): What becomes of label -1: 'drop' never draws it, 'own_class'
            makes each outlier a class of its own, U, U + 1, ... in their order. A
            batch then has as many classes as fill it: a cluster gives K images, an
            outlier its one (the sampler of SpCL). Defaults to 'drop'.
        spread_cameras (bool): Draw the images of a cluster from as many cameras
            as it has. A cluster of fewer than K images is drawn from with
            replacement, each image as likely as another whatever its camera.
            Defaults to False.
        seed (int, optional): Defaults to one that the processes agree on. In a
            training with :class:`~mmreid_gcl.engine.PseudoLabelHook` the seed of the
            run (``randomness=dict(seed=...)``) takes its place before every epoch,
            because a resumed run gets that one back from its checkpoint; the log
            says so if the two differ.

    Raises:
        ValueError: If P * K cannot be shared among the processes, or an
            argument is less than 1.
        TypeError: If ``spread_cameras`` is asked of a data set without cameras, or
            a data set of this package is inside a wrapper, which would drop the
            labels.
    """

    def __init__(
        self,
        dataset,
        num_identities: int = 16,
        num_instances: int = 8,
        num_batches: int | None = None,
        spread_cameras: bool = False,
        seed: int | None = None,
        labels: str = 'pseudo',
        outliers: str = 'drop',
    ) -> None:
        for name, choice, choices in (
            ('labels', labels, ('pseudo', 'pid')),
            ('outliers', outliers, ('drop', 'own_class')),
        ):
            if choice not in choices:
                raise ValueError(
                    f'PKSampler: {name} must be one of {choices}, got {choice!r}.'
                )
        for name, value in (
            ('num_identities', num_identities),
            ('num_instances', num_instances),
            ('num_batches', num_batches),
        ):
            if value is not None:
                require_count(f'PKSampler: {name}', value)
        inside = getattr(dataset, 'dataset', None)
        inside = [inside, *getattr(dataset, 'datasets', ())]
        if not hasattr(dataset, 'column') and any(hasattr(d, 'column') for d in inside):
            require_reid_dataset(dataset, 'PKSampler: the data set')
        if num_batches is None:
            num_batches = max(1, len(dataset) // (num_identities * num_instances))
        for option, known in (
            (spread_cameras and 'spread_cameras', 'cameras'),
            (labels == 'pid' and "labels='pid'", 'identities'),
        ):
            if option and not hasattr(dataset, 'column'):
                raise TypeError(
                    f'PKSampler: {option} needs a data set of mmreid_gcl, which knows '
                    f'the {known} of its images; this is a {type(dataset).__name__}.'
                )
        self.rank, self.world_size = dist.get_dist_info()
        self.global_batch_size = num_identities * num_instances
        if self.global_batch_size % self.world_size:
            raise ValueError(
                f'PKSampler: a batch of {num_identities} x {num_instances} = '
                f'{self.global_batch_size} images cannot be shared equally by '
                f'{self.world_size} processes. Change num_identities (P) or '
                'num_instances (K), or the number of processes.'
            )
        self.dataset = dataset
        self.num_identities = num_identities
        self.num_instances = num_instances
        self.num_batches = num_batches
        self.spread_cameras = spread_cameras
        self.outliers = outliers
        self.with_identities = labels == 'pid'
        self._seed = dist.sync_random_seed() if seed is None else seed
        self.epoch = 0
        #: Batches at the start of the epoch to leave out, for a resume inside it.
        #: The length stays that of a whole epoch, which the training loop counts by.
        self.skip_batches = 0
        self._labels: np.ndarray | None = None
        if labels == 'pid':
            pids = dataset.column('pid')
            known = pids >= 0
            numbers = np.full(len(pids), -1, np.int64)
            numbers[known] = np.unique(pids[known], return_inverse=True)[1]
            self.set_labels(numbers)

    @property
    def batch_size(self) -> int:
        """Images a process loads for a batch: P * K / world size."""
        return self.global_batch_size // self.world_size

    @property
    def seed(self) -> int:
        """What the draws depend on, beside the epoch and the labels."""
        return self._seed

    @seed.setter
    def seed(self, value: int) -> None:
        if value != self._seed:
            log(
                f'PKSampler: the seed {self._seed} gives way to {value}, the seed of '
                'the run (randomness=dict(seed=...)).'
            )
        self._seed = value

    def set_epoch(self, epoch: int) -> None:
        """Say which epoch comes next; the draws depend on it."""
        self.epoch = epoch

    def set_labels(self, labels: Sequence[int] | np.ndarray) -> None:
        """Set the clusters to draw from: (N,) 0..U-1, or -1 for an outlier.

        Raises:
            ValueError: If the count is wrong or no image is in a cluster.
        """
        labels = np.asarray(labels)
        if labels.shape != (len(self.dataset),):
            raise ValueError(
                f'PKSampler: {len(self.dataset)} images need as many labels, got '
                f'shape {labels.shape}.'
            )
        if not (labels >= 0).any():
            raise ValueError('PKSampler: every label is -1, there is nothing to draw.')
        own_class = self.outliers == 'own_class'
        self._labels = outliers_as_classes(labels) if own_class else labels

    def _current_labels(self) -> np.ndarray:
        if self._labels is None:
            if not hasattr(self.dataset, 'get_gt_labels'):
                raise RuntimeError(
                    'PKSampler has no labels. Add pseudo_labels=dict(type='
                    "'PseudoLabelHook', ...) to default_hooks, which sets them every "
                    "epoch, call set_labels(), or train with labels: labels='pid'."
                )
            self.set_labels(self.dataset.get_gt_labels())
        return self._labels

    def _plan(self) -> np.ndarray:
        """The image indices of the epoch, (num_batches, P * K)."""
        labels = self._current_labels()
        rng = np.random.default_rng([self.seed, self.epoch])
        order = np.argsort(labels, kind='stable')
        order = order[np.searchsorted(labels[order], 0) :]
        _, starts = np.unique(labels[order], return_index=True)
        members = np.split(order, starts[1:])
        camids = self.dataset.column('camid') if self.spread_cameras else None
        batches = draw_clusters(len(members), self.num_identities, rng)

        def draw(cluster: int) -> np.ndarray:
            mine = members[cluster]
            alone = len(mine) == 1 and self.outliers == 'own_class'
            count = 1 if alone else self.num_instances
            own_camids = None if camids is None else camids[mine]
            return draw_instances(mine, count, rng, own_camids)

        plan = np.empty((self.num_batches, self.global_batch_size), np.int64)
        waiting = np.empty(0, np.int64)
        for row in plan:
            while len(waiting) < len(row):
                waiting = np.concatenate([waiting, *map(draw, next(batches))])
            row[:], waiting = waiting[: len(row)], waiting[len(row) :]
        return plan

    def __iter__(self) -> Iterator[SampleIndex]:
        labels, plan = self._current_labels(), self._plan()
        seeds = derive_seeds(plan.size, self.seed, self.epoch).reshape(plan.shape)
        mine = slice(self.rank * self.batch_size, (self.rank + 1) * self.batch_size)
        for batch in range(self.skip_batches, self.num_batches):
            for index, seed in zip(plan[batch, mine], seeds[batch, mine]):
                yield SampleIndex(int(index), int(labels[index]), int(seed))

    def __len__(self) -> int:
        """Images of a whole epoch on this rank, skipped batches included."""
        return self.num_batches * self.batch_size
