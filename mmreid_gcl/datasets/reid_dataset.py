# SPDX-License-Identifier: Apache-2.0
"""Base class of all re-ID data sets: samples and checks."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

import numpy as np
from mmcv.transforms import LoadImageFromFile
from mmengine.dataset import BaseDataset, Compose

from mmreid_gcl.environment import import_mmpretrain

from .image_folder import one_line
from .inspection import check_header
from .neutral_order import neutral_order
from .seeding import seeded

import_mmpretrain('datasets')  # registers PackInputs and others

#: Value of ``sequence``, ``frame`` and ``track`` where nobody gives them.
UNKNOWN = -1
#: What a sample holds, and as what :meth:`ReIDDataset.column` returns it.
FIELDS = {
    'img_path': str, 'pid': np.int64, 'camid': np.int64, 'sequence': np.int64,
    'frame': np.int64, 'moment': np.int64, 'track': np.int64, 'is_query': np.bool_,
}  # fmt: skip
#: What clusterers and memories may know of an image: its identity is not among it.
RECORDS = ('img_path', 'camid', 'sequence', 'frame', 'track', 'moment')


def image_records(dataset) -> dict[str, np.ndarray]:
    """(N,) arrays of what is known of the images besides their identity."""
    return {name: dataset.column(name) for name in RECORDS}


class ReIDDataset(BaseDataset):
    """Images of people with identity, camera and time.

    A sample is a dict with ``img_path`` (str), ``pid`` (int, identity; -1 is
    junk, or that nobody labelled it), ``camid`` (int), ``sequence`` and
    ``frame`` (int, :data:`UNKNOWN` where the data set has none), ``moment`` (int,
    ``frame`` where that is a time and not the order of names), ``track`` (int,
    what a tracker took for one person in one camera, likewise) and ``is_query``
    (bool). Tracks are numbered from 0 in the order of their first images, so that
    their numbers tell no more than who belongs together. Identities serve
    evaluation and reports; training reads ``gt_label``, which comes from the
    :class:`~mmreid_gcl.datasets.SampleIndex` that the sampler draws.

    Subclasses implement :meth:`load_data_list`; a ``track`` in its samples may be
    anything hashable that is unique in the camera, None is unknown.

    Args:
        data_root (str): Folder of the data set.
        split (str): 'train', 'query', 'gallery', or 'test' (query, then
            gallery: what the metric wants). Defaults to 'train'.
        pipeline (Sequence[dict]): Transforms. Defaults to ().
        **kwargs: Further arguments of mmengine's ``BaseDataset``.

    Raises:
        FileNotFoundError: If the folder or a part of it is missing.
        ValueError: If a file name or list line cannot be parsed.
    """

    SPLITS = ('train', 'query', 'gallery', 'test')
    data_root: str
    #: Whether times are the order of names, which nobody has said is right.
    times_from_names = False
    #: Whether ``frame`` is milliseconds since 1970, from timestamps.
    timestamps = False

    def __init__(
        self,
        data_root: str,
        split: str = 'train',
        pipeline: Sequence[dict] = (),
        **kwargs,
    ) -> None:
        if split not in self.SPLITS:
            raise ValueError(
                f'{type(self).__name__}: split must be one of {self.SPLITS}, '
                f'got {split!r}.'
            )
        if not data_root:
            raise ValueError(
                f'{type(self).__name__}: data_root is empty. Give the folder of '
                'the data set, for example with '
                '--cfg-options data_root=/path/to/it.'
            )
        self.split = split
        self._columns: dict[str, np.ndarray] = {}
        super().__init__(data_root=str(data_root), pipeline=list(pipeline), **kwargs)

    def _join_prefix(self) -> None:
        # Samples hold whole paths; there is no annotation file to join.
        self.data_root = str(Path(self.data_root).expanduser())

    def load_data_list(self) -> list[dict]:
        """The samples of the split; a subclass knows where they are."""
        raise NotImplementedError(f'{type(self).__name__} lacks load_data_list().')

    def filter_data(self) -> list[dict]:
        """Put training images into an order that no identity has a part in."""
        samples = self.data_list
        if self.split == 'train':
            samples = neutral_order(samples)
        numbers: dict[tuple, int] = {}
        for sample in samples:
            track = sample.get('track')
            known = track is not None and track != UNKNOWN
            key = sample['camid'], track
            sample['moment'] = UNKNOWN if self.times_from_names else sample['frame']
            sample['track'] = (
                numbers.setdefault(key, len(numbers)) if known else UNKNOWN
            )
        self._tracks = [track for _, track in numbers]
        return samples

    def column(self, name: str) -> np.ndarray:
        """One of :data:`FIELDS` of all samples, (N,), in the order of the data set."""
        if name not in self._columns:
            if name not in FIELDS:
                raise KeyError(f'{name!r}: expected one of {tuple(FIELDS)}.')
            samples = [self.get_data_info(i) for i in range(len(self))]
            for field in FIELDS:
                values = [sample[field] for sample in samples]
                self._columns[field] = np.array(values, dtype=FIELDS[field])
        return self._columns[name]

    def camera_name(self, camid: int) -> str:
        """A camera as the folder calls it (``metainfo['cameras']``).

        Without names that is 'c1' for camid 0, as file names of the benchmarks count,
        and '?' for :data:`UNKNOWN`.
        """
        self.full_init()
        names = self.metainfo.get('cameras') or ()
        if camid < 0:
            return '?'
        return str(names[camid]) if camid < len(names) else f'c{camid + 1}'

    def identity_name(self, pid: int) -> str:
        """An identity as the folder calls it, else its number; '' if not known."""
        self.full_init()
        names = self.metainfo.get('identities') or ()
        if pid < 0:
            return ''
        return str(names[pid]) if pid < len(names) else str(pid)

    def track_name(self, track: int) -> str:
        """A track as the folder calls it, without its sequence; '' if not known."""
        self.full_init()
        if track < 0:
            return ''
        name = self._tracks[track]
        return str(name[-1] if isinstance(name, tuple) else name)

    def get_subset_(self, indices: Sequence[int] | int) -> None:
        """Keep some of the samples only; see mmengine's ``BaseDataset``."""
        self.full_init()
        super().get_subset_(indices)
        self._columns = {}

    def _copy_without_annotation(self, memo: dict | None = None) -> ReIDDataset:
        copied = super()._copy_without_annotation({} if memo is None else memo)
        copied._columns = {}
        return copied

    def with_pipeline(self, pipeline: Sequence[dict]) -> ReIDDataset:
        """The same images through another pipeline; a view, the samples are shared."""
        self.full_init()
        view = copy.copy(self)
        view.pipeline = Compose(pipeline)
        return view

    def prepare_data(self, idx: int) -> dict:
        """Run the pipeline on one image; ``idx`` is a :class:`SampleIndex` in training.

        An image that cannot be read is a RuntimeError that names it.
        """
        return self.transform_sample(self.get_data_info(int(idx)), idx)

    def transform_sample(self, data: dict, idx: int) -> dict:
        """Run the pipeline on a sample, with the label and seed of its draw."""
        label = getattr(idx, 'label', None)
        seed = getattr(idx, 'seed', None)
        if label is not None:
            data['gt_label'] = label
        path = data['img_path']
        try:
            # CachedTransforms does so for itself, where it opens the file
            if isinstance(next(iter(self.pipeline.transforms), 0), LoadImageFromFile):
                check_header(path)
            with nullcontext() if seed is None else seeded(seed):
                result = self.pipeline(data)
        except Exception as error:
            raise RuntimeError(
                f'{path}: this image cannot be read or transformed '
                f'({one_line(error)}). Replace it or remove it.'
            ) from error
        if result is None:  # the stack would draw another image in silence
            raise RuntimeError(f'{path}: the pipeline returned nothing for it.')
        return result
