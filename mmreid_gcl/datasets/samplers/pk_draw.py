# SPDX-License-Identifier: Apache-2.0
"""Drawing the clusters of a batch and their images."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from numbers import Integral

import numpy as np

from mmreid_gcl.config_parts import type_name


def require_count(name: str, value: object, least: int = 1) -> None:
    """Raise a ValueError unless a setting is a whole number of at least ``least``."""
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise ValueError(f'{name} must be a whole number, got {value!r}.')
    if value < least:
        raise ValueError(f'{name} must be at least {least}, got {value}.')


def require_batch(name: str, identities: int, instances: int) -> None:
    """Raise a ValueError unless P and K are counts and make more than one image.

    ``name`` is what their names begin with.
    """
    require_count(f'{name}num_identities', identities)
    require_count(f'{name}num_instances', instances)
    if identities * instances == 1:
        raise ValueError(
            f'{name}num_identities and num_instances are 1, a batch of one image. '
            'Batch norm cannot train on it, and a loss has nothing to compare: give '
            'at least two images.'
        )


def fill_batch_size(loader: MutableMapping | None, world_size: int) -> None:
    """Replace a training loader's ``batch_size='auto'`` by its number, in place.

    It is P * K over the ``world_size`` processes that share a batch. A ``ValueError``
    if P or K is no whole number, their product no multiple of the processes, or there
    is no PKSampler that has them.
    """
    if loader is None or loader.get('batch_size') != 'auto':
        return
    sampler = loader.get('sampler') or {}
    if type_name(sampler) != 'PKSampler':
        raise ValueError(
            "train_dataloader.batch_size='auto' needs sampler=dict(type='PKSampler', "
            f'...), whose P * K it stands for; got sampler type '
            f'{sampler.get("type")!r}. Give a number.'
        )
    identities = sampler.get('num_identities', 16)
    instances = sampler.get('num_instances', 8)
    require_batch('train_dataloader.sampler.', identities, instances)
    if identities * instances % world_size:
        raise ValueError(
            f'A batch of {identities} x {instances} = {identities * instances} images '
            f'cannot be shared equally by {world_size} processes. Change '
            'train_dataloader.sampler.num_identities or num_instances, or the number '
            'of processes.'
        )
    loader['batch_size'] = identities * instances // world_size


def draw_clusters(
    num_clusters: int, per_batch: int, rng: np.random.Generator
) -> Iterator[np.ndarray]:
    """Batches of P clusters in [0, U), from permutations of all, without end.

    A batch has no cluster twice, unless there are fewer than it needs. When a
    permutation ends inside a batch, the next one begins there, and gives its clusters
    that are already in the batch to a later batch.
    """
    queue: list[int] = []
    while True:
        batch: list[int] = []
        while len(batch) < per_batch:
            # with U < P a batch is several whole rounds, distinct in each
            current = set(batch[len(batch) // num_clusters * num_clusters :])
            place = next((i for i, c in enumerate(queue) if c not in current), None)
            if place is None:
                queue.extend(rng.permutation(num_clusters).tolist())
                continue
            batch.append(queue.pop(place))
        yield np.array(batch)


def draw_instances(
    members: np.ndarray,
    count: int,
    rng: np.random.Generator,
    camids: np.ndarray | None = None,
    tracks: np.ndarray | None = None,
) -> np.ndarray:
    """K of the image indices (n,) of a cluster; of fewer, with replacement.

    With ``camids`` (n,) K images or more spread over as many cameras as possible, as
    public baselines do. With ``tracks`` (n,) no track gives a second image before all
    gave one, and so on, which goes before the cameras; an image whose track is not
    known (-1) is one of its own.
    """
    if len(members) < count:
        return rng.choice(members, count, replace=True)
    order = rng.permutation(len(members))
    turn = np.zeros(len(order), np.int64)
    if tracks is not None:
        turn = np.where(tracks[order] < 0, 0, _turns(tracks[order]))
    if camids is not None:
        # the first image of each camera, then the second of each, ...
        own = camids[order] * (turn.max() + 1) + turn
        order = order[np.lexsort((_turns(own), turn))]
    else:
        order = order[np.argsort(turn, kind='stable')]
    return members[order[:count]]


def _turns(values: np.ndarray) -> np.ndarray:
    """How many equal values stand before each, (n,)."""
    turns = np.zeros(len(values), np.int64)
    for value in np.unique(values):
        turns[values == value] = np.arange((values == value).sum())
    return turns
