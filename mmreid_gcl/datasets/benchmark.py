# SPDX-License-Identifier: Apache-2.0
"""Base class of the public benchmarks: finds folders, checks counts."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from .annotation_file import read_annotation
from .image_folder import list_images, log, raise_all, require_folder
from .reid_dataset import UNKNOWN, ReIDDataset

#: A data set whose folder holds this file is synthetic: no official counts.
SYNTHETIC_MARK = 'synthetic.json'
#: Table of the tracks beside the folders of a data set: path, track.
TRACKS = 'tracks.csv'


class Counts(NamedTuple):
    """Images, identities and cameras of one split, junk left out.

    ``cameras`` is None where nobody has published it; it is not compared then.
    """

    images: int
    identities: int
    cameras: int | None = None

    def __str__(self) -> str:
        text = f'{self.images:,} images, {self.identities:,} identities'
        return text if self.cameras is None else f'{text}, {self.cameras} cameras'

    def fits(self, official: Counts) -> bool:
        """Whether this is what ``official`` says."""
        if official.cameras is None:
            return self[:2] == official[:2]
        return self == official


class BenchmarkDataset(ReIDDataset):
    """A benchmark in its official layout: a folder for each split.

    A subclass sets the attributes below. Images with identity -1 (junk) are
    left out and counted in the log. A table :data:`TRACKS` beside the folders gives
    the tracks of images (columns path, relative to it, and track). Query and gallery
    are in the order of the file names, training images in one that no identity has a
    part in.

    Args:
        data_root (str): The folder that holds the three parts, or its parent.
        split, pipeline, kwargs: See :class:`ReIDDataset`.

    Attributes:
        TITLE (str): Name in the log.
        FOLDERS (tuple[str]): Names of the folder that holds the parts, the
            official one first.
        PARTS (dict[str, str]): Sub-folder of 'train', 'query' and 'gallery'.
        NAME_PATTERN (re.Pattern): Groups pid and camid, if the names have
            them also sequence and frame. Matched against the whole name.
        NAME_EXAMPLE (str): What a name looks like, for messages.
        OFFICIAL (dict[str, Counts]): What is complete, junk left out.
    """

    TITLE: str
    FOLDERS: tuple[str, ...]
    PARTS = {
        'train': 'bounding_box_train',
        'query': 'query',
        'gallery': 'bounding_box_test',
    }
    NAME_PATTERN: re.Pattern[str]
    NAME_EXAMPLE: str
    OFFICIAL: dict[str, Counts]

    def load_data_list(self) -> list[dict]:
        """The samples of the split, as in :class:`ReIDDataset`."""
        root = self.find_root()
        parts = ('query', 'gallery') if self.split == 'test' else (self.split,)
        samples = []
        for part in parts:
            found = self.load_part(root, part)
            self._take_tracks(root, part, found)
            self._check_counts(root, part, found)
            samples += found
        return samples

    def find_root(self) -> Path:
        """``data_root``, or the first of ``FOLDERS`` in it, that has a part.

        A FileNotFoundError if there is none.
        """
        given = Path(self.data_root)
        require_folder(given, f'the data set {self.TITLE}')
        for candidate in (given, *(given / name for name in self.FOLDERS)):
            if self.has_parts(candidate):
                log(f'{self.TITLE}: using {candidate}')
                return candidate
        raise FileNotFoundError(
            f'{given}: {self.TITLE} is not here. Expected the folders '
            f'{self.layout_text()} in it, or in {given / self.FOLDERS[0]}. '
            'Set data_root to the folder that contains them, or to its parent.'
        )

    def has_parts(self, folder: Path) -> bool:
        """Whether any part of the data set is in ``folder``."""
        return any((folder / part).is_dir() for part in self.PARTS.values())

    def layout_text(self) -> str:
        """The folders of the layout, for messages."""
        return ', '.join(self.PARTS.values())

    def load_part(self, root: Path, part: str) -> list[dict]:
        """Samples of 'train', 'query' or 'gallery', by file name, without junk."""
        folder = root / self.PARTS[part]
        require_folder(folder, f'the {part} images of {self.TITLE}')
        samples, errors, junk = [], [], 0
        for name in list_images(folder):
            try:
                sample = self.parse_name(folder / name)
            except ValueError as error:
                errors.append(error)
                continue
            if sample['pid'] == -1:
                junk += 1
                continue
            sample['is_query'] = part == 'query'
            samples.append(sample)
        raise_all(errors)
        if junk:
            log(f'{folder}: {junk:,} junk images (identity -1) left out')
        return samples

    def parse_name(self, path: Path) -> dict:
        """Identity, camera (0-based) and time from the name of an image.

        ``sequence`` and ``frame`` are :data:`UNKNOWN` where the name has none. A
        name that does not fit ``NAME_PATTERN`` is a ValueError.
        """
        return self.sample_of(path, self.NAME_PATTERN.fullmatch(path.name))

    def sample_of(self, path: Path, match: re.Match[str] | None) -> dict:
        """The sample of a matched name; see :meth:`parse_name`."""
        fields = match.groupdict() if match else {}
        why = '' if fields else 'cannot parse this image name'
        if fields and int(fields['camid']) < 1:
            why = f'its camera is {fields["camid"]}, but cameras in names begin at 1'
        if why:
            raise ValueError(
                f'{path}: {why}; {self.TITLE} names look like {self.NAME_EXAMPLE}. '
                'Rename or move the file.'
            )
        return {
            'img_path': str(path),
            'pid': int(fields['pid']),
            'camid': int(fields['camid']) - 1,
            'sequence': self.parse_sequence(fields.get('sequence')),
            'frame': _number(fields.get('frame')),
        }

    def parse_sequence(self, text: str | None) -> int:
        """The sequence as an integer that grows with time."""
        return _number(text)

    def _take_tracks(self, root: Path, part: str, samples: list[dict]) -> None:
        """Tracks from a table beside the folders, if there is one."""
        if not (root / TRACKS).is_file():
            return
        rows = [row for _, row in read_annotation(root / TRACKS)]
        tracks = {row['path']: row.get('track') or None for row in rows}
        for sample in samples:
            name = Path(sample['img_path']).relative_to(root).as_posix()
            sample['track'] = tracks.get(name)
        known = sum(sample['track'] is not None for sample in samples)
        log(f'{root / TRACKS}: tracks of {known:,} of {len(samples):,} {part} images')

    def _check_counts(self, root: Path, part: str, samples: list[dict]) -> None:
        found = count(samples)
        if (root / SYNTHETIC_MARK).is_file():
            log(f'Synthetic set {root.name}, {part}: {found}')
        elif found.fits(self.OFFICIAL[part]):
            log(f'{self.TITLE} {part}: {found} (official counts)')
        else:
            log(
                f'{self.TITLE} {part}: found {found} in {root}; the official set '
                f'has {self.OFFICIAL[part]}. Results on it cannot be compared '
                'with published ones.',
                logging.WARNING,
            )


def count(samples: Iterable[dict]) -> Counts:
    """Count samples and their different ``pid`` and ``camid``."""
    samples = list(samples)
    return Counts(
        len(samples),
        len({sample['pid'] for sample in samples}),
        len({sample['camid'] for sample in samples}),
    )


def _number(text: str | None) -> int:
    return UNKNOWN if text is None else int(text)
