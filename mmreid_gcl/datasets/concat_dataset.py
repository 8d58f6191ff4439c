# SPDX-License-Identifier: Apache-2.0
"""Several data sets as one, for training."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from mmengine.dataset import ConcatDataset as _ConcatDataset

from mmreid_gcl.registry import DATASETS

from .reid_dataset import FIELDS, UNKNOWN, ReIDDataset


@DATASETS.register_module()
class ConcatDataset(_ConcatDataset):
    """mmengine's ``ConcatDataset`` for data sets of people.

    Their cameras, tracks and people are taken as different ones: their numbers
    (not -1) of each go on where those of the one before end. Images stay
    in the order of their data set.

    Each data set has its own ``data_root``::

        dataset=dict(
            type='ConcatDataset',
            datasets=[
                dict(type='PersonFolder', data_root='a', pipeline=train_pipeline),
                dict(type='PersonFolder', data_root='b', pipeline=train_pipeline),
            ],
        )

    Args:
        datasets (Sequence[dict | ReIDDataset]): At least one.
        lazy_init (bool): Whether to list the images later. Defaults to False.
        data_root (str, optional): Not possible; ``--cfg-options data_root=`` of the
            tools arrives here, and the error says what to do.
        **kwargs: ``split``, ``pipeline`` and ``test_mode`` that a base config has
            for a single data set; passed on to the data sets given as dicts that do
            not have them.

    Raises:
        TypeError: If one is no :class:`ReIDDataset`.
        ValueError: If there is none, or ``data_root`` is given.
    """

    def __init__(
        self,
        datasets: Sequence[dict | ReIDDataset],
        lazy_init: bool = False,
        data_root: str | None = None,
        **kwargs,
    ) -> None:
        if data_root is not None:
            raise ValueError(
                f'ConcatDataset: data_root={data_root!r} cannot be that of every data '
                'set. Give each its own, for example --cfg-options '
                f'train_dataloader.dataset.datasets.0.data_root={data_root}; a config '
                "that inherits one needs dataset=dict(_delete_=True, type='Concat"
                "Dataset', datasets=[...])."
            )
        if not datasets:
            raise ValueError('ConcatDataset: datasets is empty; give at least one.')
        unknown = set(kwargs) - {'split', 'pipeline', 'test_mode'}
        if unknown:
            raise TypeError(
                f'ConcatDataset has no argument {sorted(unknown)[0]!r}; expected '
                'datasets, each with its own arguments.'
            )
        built = [
            DATASETS.build({**kwargs, **item}) if isinstance(item, dict) else item
            for item in datasets
        ]
        for number, dataset in enumerate(built):
            require_reid_dataset(dataset, f'ConcatDataset: datasets[{number}]')
        # each knows its own cameras; there is no common description
        keys = sorted({key for dataset in built for key in dataset.metainfo})
        super().__init__(built, lazy_init=True, ignore_keys=keys)
        self._columns: dict[str, np.ndarray] = {}
        if not lazy_init:
            self.full_init()

    def full_init(self) -> None:
        """List the images of all data sets."""
        if self._fully_initialized:
            return
        super().full_init()
        self._offsets = {'camid': [0], 'pid': [0], 'track': [0]}
        for dataset in self.datasets:
            for name, offsets in self._offsets.items():
                highest = int(dataset.column(name).max(initial=-1))
                offsets.append(offsets[-1] + highest + 1)

    def column(self, name: str) -> np.ndarray:
        """One field of all samples; see :meth:`ReIDDataset.column`."""
        self.full_init()
        if name not in self._columns:
            if name not in FIELDS:
                raise KeyError(f'{name!r}: expected one of {tuple(FIELDS)}.')
            parts = [dataset.column(name) for dataset in self.datasets]
            if name in self._offsets:
                parts = [
                    np.where(part == UNKNOWN, part, part + offset)
                    for part, offset in zip(parts, self._offsets[name])
                ]
            self._columns[name] = np.concatenate(parts)
        return self._columns[name]

    @property
    def times_from_names(self) -> bool:
        """Whether one has times that are the order of names."""
        return any(dataset.times_from_names for dataset in self.datasets)

    def camera_name(self, camid: int) -> str:
        """A camera as its data set calls it, after the folder of that data set."""
        return self._named('camid', camid, 'camera_name')

    def identity_name(self, pid: int) -> str:
        """An identity as its data set calls it, after the folder of that data set."""
        return self._named('pid', pid, 'identity_name')

    def _named(self, column: str, number: int, method: str) -> str:
        self.full_init()
        inner = 0
        if number >= 0:
            ends = self._offsets[column][1:-1]
            inner = int(np.searchsorted(ends, number, side='right'))
        dataset = self.datasets[inner]
        name = getattr(dataset, method)(number - self._offsets[column][inner])
        if number < 0 or len(self.datasets) == 1 or isinstance(dataset, ConcatDataset):
            return name
        roots = [Path(getattr(d, 'data_root', '')) for d in self.datasets]
        # two may be parts of one folder, or have one name in two places
        alike = [root.name for root in roots].count(roots[inner].name) > 1
        return f'{inner + 1}/{name}' if alike else f'{roots[inner].name}/{name}'

    def with_pipeline(self, pipeline: Sequence[dict]) -> ConcatDataset:
        """The same images through another pipeline; a view."""
        self.full_init()
        view = copy.copy(self)
        view.datasets = [dataset.with_pipeline(pipeline) for dataset in self.datasets]
        return view

    def get_data_info(self, idx: int) -> dict:
        """The sample, with the numbers of camera, track and identity in the whole."""
        return self._locate(idx)[1]

    def prepare_data(self, idx: int) -> dict:
        """Run the pipeline on one image; see :meth:`ReIDDataset.prepare_data`."""
        dataset, data = self._locate(idx)
        return dataset.transform_sample(data, idx)

    def __getitem__(self, idx: int) -> dict:
        return self.prepare_data(idx)

    def _locate(self, idx: int) -> tuple[ReIDDataset, dict]:
        """The data set of an image, and its sample with the numbers of the whole."""
        self.full_init()
        if not -len(self) <= idx < len(self):
            raise IndexError(f'ConcatDataset: {int(idx)} of {len(self)} images.')
        number, inner = self._get_ori_dataset_idx(int(idx))
        data = self.datasets[number].get_data_info(inner)
        for name, offsets in self._offsets.items():
            if data[name] != UNKNOWN:
                data[name] += offsets[number]
        data['sample_idx'] = int(idx)
        return self.datasets[number], data


def require_reid_dataset(dataset: object, place: str) -> None:
    """Raise a TypeError unless this package can train on what a config built.

    ``place`` is where it stands in the config, for the message.
    """
    if isinstance(dataset, (ReIDDataset, ConcatDataset)):
        return
    name = type(dataset).__name__
    inner = getattr(dataset, 'dataset', None)
    if isinstance(inner, ReIDDataset):
        advice = (
            f'Take the {type(inner).__name__} out of its wrapper. To repeat images '
            'needs no wrapper: an epoch has as many batches as '
            'sampler.num_batches says.'
        )
    else:
        advice = (
            'Use one of Market1501, DukeMTMCreID, MSMT17, CUHK03, VeRi776, '
            "PersonFolder, several of them in a dict(type='ConcatDataset', "
            'datasets=[...]), or derive from mmreid_gcl.datasets.ReIDDataset.'
        )
    raise TypeError(
        f'{place} is a {name}. Clustering needs a data set that knows the camera and '
        f'time of its images and takes another pipeline. {advice}'
    )
