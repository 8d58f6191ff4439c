# SPDX-License-Identifier: Apache-2.0
"""The images of a folder with their identity, camera and time, and clusters of them."""

from __future__ import annotations

import csv
import os
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mmreid_gcl.datasets.image_folder import as_path, require_folder

#: The number at the end of a track's name; none in '3.0'.
OWN_NUMBER = re.compile(r'(?<![0-9])(?<![0-9]\.)[0-9]{1,18}\Z')


@dataclass(frozen=True, eq=False)
class FolderImages:
    """Images of a folder tree, sorted by path."""

    #: The folder, absolute. Where a table lists images elsewhere, the one that holds
    #: all of them
    root: Path
    paths: list[str]  #: N paths relative to it, with '/'
    cameras: list[str]  #: N names of cameras
    identities: list[str]  #: N names of people; '' is not known
    #: (N,) arrays ``img_path``, ``pid`` (-1 is not known), ``camid``, ``sequence``,
    #: ``frame``, ``moment``, ``track``, ``is_query`` of
    #: :class:`~mmreid_gcl.datasets.ReIDDataset`,
    #: ``time``: seconds since 1970 where a timestamp says it, else NaN, and
    #: ``own_track``: ``track`` by the number at the end of its name, unique on its
    #: camera; as in ``track`` where tracks of the camera have none, or the same
    columns: dict[str, np.ndarray]
    #: (N,) int64 places in the order of that data set, which training clusters in
    place: np.ndarray

    def __len__(self) -> int:
        return len(self.paths)

    def files(self) -> list[str]:
        """N paths to open."""
        return self.columns['img_path'].tolist()

    def records(self) -> dict[str, np.ndarray]:
        """What clustering may know of the images: no identity."""
        from mmreid_gcl.datasets.reid_dataset import RECORDS

        return {name: self.columns[name] for name in RECORDS}

    def select(self, rows: Sequence[int] | np.ndarray) -> FolderImages:
        """Some of the images, in the order of ``rows``."""
        rows = np.asarray(rows, dtype=np.int64)
        return FolderImages(
            self.root,
            [self.paths[row] for row in rows],
            [self.cameras[row] for row in rows],
            [self.identities[row] for row in rows],
            {name: values[rows] for name, values in self.columns.items()},
            self.place[rows],
        )


def list_folder(folder: str | Path, split: str = 'auto', **kwargs) -> FolderImages:
    """List a folder as :class:`~mmreid_gcl.datasets.PersonFolder` reads it.

    Args:
        folder (str | Path): The folder.
        split (str): 'train', 'query', 'gallery' or 'test' of that class. 'auto',
            the default: 'gallery' if there is a sub-folder of that name, else
            'train': all images, where no sub-folder is called train.
        **kwargs: ``camera``, ``pattern``, ``annotation`` and ``order_by_name`` of
            that class. By default the first sub-folder names the camera.
            Images that are missing are listed (``keep_missing``): whoever reads
            them reports them, and one of them does not end the job.

    Returns:
        FolderImages: At least one.

    Raises:
        FileNotFoundError: If the folder or images in it are missing.
        ValueError: If a name does not fit the pattern.
    """
    # registers transforms, which takes a moment
    from mmreid_gcl.datasets.person_folder import PersonFolder, split_folders
    from mmreid_gcl.datasets.reid_dataset import FIELDS

    root = as_path(folder).resolve()
    require_folder(root, 'images of people')
    if split == 'auto':
        split = 'train'
        if kwargs.get('annotation') is None and 'gallery' in split_folders(root)[0]:
            split = 'gallery'
    kwargs.setdefault('keep_missing', True)
    dataset = PersonFolder(str(root), split=split, **kwargs)
    columns = {name: dataset.column(name) for name in FIELDS}
    known = dataset.timestamps & (columns['frame'] >= 0)
    columns['time'] = np.where(known, columns['frame'] / 1000, np.nan)
    columns['own_track'] = _own_tracks(dataset)
    files = [Path(path) for path in columns['img_path'].tolist()]
    if not all(file.is_relative_to(root) and '..' not in file.parts for file in files):
        files = [file.parent.resolve() / file.name for file in files]
    root = Path(os.path.commonpath([root, *(file.parent for file in files)]))
    relative = [file.relative_to(root).as_posix() for file in files]
    order = sorted(range(len(relative)), key=lambda i: relative[i].split('/'))
    cameras = [dataset.camera_name(camid) for camid in columns['camid'].tolist()]
    people = [dataset.identity_name(pid) for pid in columns['pid'].tolist()]
    place = np.arange(len(relative))
    return FolderImages(root, relative, cameras, people, columns, place).select(order)


def _own_tracks(dataset) -> np.ndarray:
    """(N,) ``own_track`` of :class:`FolderImages`."""
    tracks = dataset.column('track').tolist()
    of_camera: dict[int, dict[int, int | None]] = defaultdict(dict)
    for camid, track in {*zip(dataset.column('camid').tolist(), tracks)}:
        if track >= 0:
            number = OWN_NUMBER.search(dataset.track_name(track))
            of_camera[camid][track] = int(number[0]) if number else None
    own: dict[int, int | None] = {}
    for numbers in of_camera.values():
        different = {*numbers.values()} - {None}
        if len(different) == len(numbers):
            own.update(numbers)
    return np.array([own.get(track, track) for track in tracks], np.int64)


def read_clusters(path: str | Path, paths: Sequence[str]) -> dict[int, np.ndarray]:
    """Clusters of ``tools/cluster.py`` as rows of ``paths``, by label.

    The CSV file has the columns path and label; label -1 is in none. A ``ValueError``
    if it is none, or has none of these paths.
    """
    row_of = {name: row for row, name in enumerate(paths)}
    found: dict[int, list[int]] = {}
    with open(path, newline='', encoding='utf-8', errors='surrogateescape') as file:
        reader = csv.DictReader(file)
        if not {'path', 'label'} <= set(reader.fieldnames or ()):
            raise ValueError(
                f'{path}: expected the columns path and label, as tools/cluster.py '
                'writes them.'
            )
        for line in reader:
            try:
                label = int(line['label'])
            except (TypeError, ValueError):
                raise ValueError(
                    f'{path}, line {reader.line_num}: the label {line["label"]!r} is '
                    'no integer.'
                ) from None
            if line['path'] in row_of:
                found.setdefault(label, []).append(row_of[line['path']])
    if not found:
        raise ValueError(
            f'{path}: none of its paths is in the gallery. Cluster the folder that the '
            'gallery was built from.'
        )
    return {label: np.array(rows, np.int64) for label, rows in found.items()}
