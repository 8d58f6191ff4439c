# SPDX-License-Identifier: Apache-2.0
"""A cache of decoded images for all workers, ranks and epochs."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from itertools import takewhile

from mmcv.transforms import BaseTransform
from mmengine import dist
from mmengine.dataset import Compose
from mmengine.logging import print_log

from mmreid_gcl.registry import TRANSFORMS

from .image_store import ImageStore
from .inspection import check_header

#: Transforms without randomness, by which a cached part of a pipeline may begin.
_DETERMINISTIC = ('LoadImageFromFile', 'Resize', 'ResizeEdge', 'CenterCrop')
_stores: dict[tuple, ImageStore] = {}


@TRANSFORMS.register_module()
class CachedTransforms(BaseTransform):
    """The first transforms of a pipeline, run once an image.

    What they make of an image stays in shared memory for all workers of all
    processes on the machine and for the pipelines that begin alike (training, and
    embedding before every epoch). Later transforms get a copy, equal to the bit to
    what they would get without. An image that finds no room is decoded every time.

    Args:
        transforms (Sequence[dict]): ``LoadImageFromFile`` and what resizes; nothing
            random, which would be drawn once and for all.
        limit_gb (float): Memory for images, in GiB, on each machine. Defaults to 4.
        folder (str, optional): Where the memory is a file. Defaults to
            ``/dev/shm``; a folder on a fast local disk serves too.

    Raises:
        OSError: If the memory cannot be had (no Unix, no such folder).
        ValueError: If a transform may be random, or the limit is not positive.
    """

    def __init__(
        self,
        transforms: Sequence[dict],
        limit_gb: float = 4.0,
        folder: str | None = None,
    ) -> None:
        wrong = [kind for kind in map(_kind, transforms) if kind not in _DETERMINISTIC]
        if wrong:
            raise ValueError(
                f'CachedTransforms runs once an image, and {wrong[0]} is not known to '
                f'be without randomness. Expected {", ".join(_DETERMINISTIC)}; put the '
                'others behind it.'
            )
        self.transforms = Compose(transforms)
        self.settings = repr(
            [sorted((key, str(value)) for key, value in t.items()) for t in transforms]
        )
        # here, before workers start, so that they share it
        self.store = _store(self.settings, limit_gb, folder)
        self.limit_gb = limit_gb
        self._told = False

    def transform(self, results: dict) -> dict:
        """Load and resize the image of ``img_path``, or take what was made before."""
        name = f'{self.settings}\n{results["img_path"]}'
        found = self.store.get(name)
        if found is not None:
            image, added = found
            return {**results, **added, 'img': image}
        check_header(results['img_path'])
        before = dict(results)
        results = self.transforms(results)
        image = results['img']
        added = {
            key: value
            for key, value in results.items()
            if key != 'img' and (key not in before or before[key] is not value)
        }
        if not self.store.add(name, image, added) and not self._told:
            self._told = True
            print_log(
                f'The image cache is full with {len(self.store)} images in '
                f'{self.store.used_bytes / 2**30:.2f} GiB (limit_gb={self.limit_gb}, '
                'or its folder is full). The others are decoded every time.',
                logger='current',
            )
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(limit_gb={self.limit_gb}, {self.transforms})'


def cache_pipeline(
    pipeline: Sequence[Mapping], limit_gb: float = 4.0, folder: str | None = None
) -> list[Mapping]:
    """A pipeline whose deterministic beginning is a :class:`CachedTransforms`.

    Unchanged if it does not begin with ``LoadImageFromFile``.
    """
    cached = list(takewhile(lambda step: _kind(step) in _DETERMINISTIC, pipeline))
    if not cached or _kind(cached[0]) != 'LoadImageFromFile':
        return list(pipeline)
    settings = dict(transforms=cached, limit_gb=limit_gb, folder=folder)
    return [
        dict(type='mmreid_gcl.CachedTransforms', **settings),
        *pipeline[len(cached) :],
    ]


def _kind(step: Mapping) -> str:
    return str(step['type']).rpartition('.')[2]


def _store(settings: str, limit_gb: float, folder: str | None) -> ImageStore:
    """One store for all pipelines of a process that begin alike."""
    if limit_gb <= 0:
        raise ValueError(f'limit_gb must be positive, got {limit_gb}.')
    key = (settings, limit_gb, folder, os.getpid())
    if key not in _stores:
        share, openers = _run_on_this_machine()
        if share is not None:
            share = f'{share} {settings} {limit_gb}'
        limit = int(limit_gb * 2**30)
        _stores[key] = ImageStore(folder, limit, share=share, openers=openers)
    return _stores[key]


def _run_on_this_machine() -> tuple[str | None, int]:
    """What names the processes of this run here, and how many they are."""
    if not dist.is_distributed():
        return None, 1
    run = f'{os.getppid()}'  # the launcher starts all of them
    for variable in ('LOCAL_WORLD_SIZE', 'OMPI_COMM_WORLD_LOCAL_SIZE'):
        if variable in os.environ:
            openers = int(os.environ[variable])
            break
    else:
        nodes = int(os.environ.get('SLURM_NNODES', 1))
        openers, rest = divmod(dist.get_world_size(), nodes)
        if rest:  # not as many on each: a store of each process
            return None, 1
        if 'SLURM_STEP_ID' in os.environ:  # where it may start each with another parent
            names = ('SLURM_JOB_ID', 'SLURM_STEP_ID', 'SLURM_RESTART_COUNT')
            run = '.'.join(os.environ.get(name, '0') for name in names)
    return f'{run} {os.environ.get("MASTER_PORT")}', openers
