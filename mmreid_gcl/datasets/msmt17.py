# SPDX-License-Identifier: Apache-2.0
"""MSMT17."""

from __future__ import annotations

import re
from pathlib import Path

from mmreid_gcl.registry import DATASETS

from .benchmark import BenchmarkDataset, Counts
from .image_folder import ExistingFiles, is_image_name

#: Image folders of train and test: of V1, of V2, and V2 in another spelling.
IMAGE_FOLDERS = (
    ('train', 'test'),
    ('mask_train_v2', 'mask_test_v2'),
    ('mask_train_V2', 'mask_test_V2'),
)
LISTS = {
    'train': ('list_train.txt', 'list_val.txt'),
    'query': ('list_query.txt',),
    'gallery': ('list_gallery.txt',),
}
LIST_NAMES = tuple(name for names in LISTS.values() for name in names)
TIMES_OF_DAY = ('morning', 'noon', 'afternoon', 'evening', 'night')


@DATASETS.register_module()
class MSMT17(BenchmarkDataset):
    """MSMT17, versions 1 and 2 (faces blurred), and the flat repackaging.

    Wei et al., "Person Transfer GAN to Bridge Domain Gap for Person
    Re-Identification", CVPR 2018.

    .. code-block:: text

        MSMT17_V1/                      MSMT17_V2/
        ├── train/0000/…                ├── mask_train_v2/0000/…
        ├── test/0000/…                 ├── mask_test_v2/0000/…
        ├── list_train.txt              ├── (the same lists)
        ├── list_val.txt
        ├── list_query.txt
        └── list_gallery.txt

    Train is list_train and list_val together: 32,621 images, 1,041
    identities. Query 11,659 and gallery 82,161 images, 3,060 identities, whose
    numbers start at 0 again: those of train and test are different people.

    A list line is ``0000/0000_000_01_0303morning_0008_0.jpg 0``: path and
    identity. In the name, 0000 is the identity, 000 the number of its image,
    01 the camera (``camid`` 0), 0303morning date and time of day, 0008 what
    this class takes as the frame. ``sequence`` is the date and the time of
    day as one integer in order of time: 0303morning is 3030, 0303noon 3031,
    0303afternoon 3032.

    The flat repackaging has ``bounding_box_train``, ``query`` and
    ``bounding_box_test`` with names such as ``0000_c14_0030.jpg``. Its last
    number counts the images of a person and is no time: sequence and frame
    are unknown. Names of the original form are read there too.

    See :class:`~mmreid_gcl.datasets.benchmark.BenchmarkDataset` for the arguments. A
    listed image that is missing, or listed twice, is an error.
    """

    TITLE = 'MSMT17'
    FOLDERS = ('MSMT17_V1', 'MSMT17_V2', 'MSMT17', 'msmt17')
    NAME_PATTERN = re.compile(
        r'(?P<pid>[0-9]+)_[0-9]+_(?P<camid>[0-9]+)'
        rf'_(?P<sequence>[0-9]{{4}}(?:{"|".join(TIMES_OF_DAY)}))'
        r'_(?P<frame>[0-9]+)_[0-9]+(?:_ex)?\.[A-Za-z]+'
    )
    FLAT_PATTERN = re.compile(
        r'(?P<pid>-1|[0-9]+)_c(?P<camid>[0-9]+)(?:_[0-9]+)*\.[A-Za-z]+'
    )
    NAME_EXAMPLE = (
        '0000_000_01_0303morning_0008_0.jpg (identity, its image, camera, date and '
        'time of day, frame, box) or, in the bounding_box folders, 0000_c14_0030.jpg '
        '(identity, camera, its image)'
    )
    OFFICIAL = {
        'train': Counts(32621, 1041, 15),
        'query': Counts(11659, 3060, 15),
        'gallery': Counts(82161, 3060, 15),
    }

    def has_parts(self, folder: Path) -> bool:
        """Whether a list, a flat folder or both image folders are there."""
        return (
            self._has_list(folder)
            or super().has_parts(folder)
            or any(all((folder / n).is_dir() for n in pair) for pair in IMAGE_FOLDERS)
        )

    def layout_text(self) -> str:
        """The folders of the layouts, for messages."""
        return (
            'train and test (V1) or mask_train_v2 and mask_test_v2 (V2) with '
            f'list_train.txt, …, list_gallery.txt, or {super().layout_text()}'
        )

    def load_part(self, root: Path, part: str) -> list[dict]:
        """Samples of 'train', 'query' or 'gallery', sorted by path."""
        if not self._has_list(root) and super().has_parts(root):
            return super().load_part(root, part)
        return self._load_listed(root, part)

    def parse_name(self, path: Path) -> dict:
        """Identity, camera and time from one file name."""
        flat = self.FLAT_PATTERN.fullmatch(path.name)
        if flat and path.parent.name in self.PARTS.values():
            return self.sample_of(path, flat)
        return super().parse_name(path)

    def parse_sequence(self, text: str | None) -> int:
        """'0303noon' -> 3031: date, then the time of day as a digit."""
        if text is None:
            return super().parse_sequence(text)
        return int(text[:4]) * 10 + TIMES_OF_DAY.index(text[4:])

    @staticmethod
    def _has_list(folder: Path) -> bool:
        return any((folder / name).is_file() for name in LIST_NAMES)

    def _load_listed(self, root: Path, part: str) -> list[dict]:
        # what the paths of the lists are relative to
        names = [pair[part != 'train'] for pair in IMAGE_FOLDERS]
        folder = next((root / name for name in names if (root / name).is_dir()), None)
        if folder is None:
            raise FileNotFoundError(
                f'{root}: the images of MSMT17 {part} are missing; expected the folder '
                f'{names[0]} (V1) or {names[1]} (V2).'
            )
        images = ExistingFiles(folder)
        seen: dict[str, str] = {}
        samples = []
        for list_name in LISTS[part]:
            for where, relative, pid in _read_list(root / list_name):
                if relative in seen:
                    raise ValueError(
                        f'{where}: {relative!r} stands already in {seen[relative]}; '
                        'expected every image once.'
                    )
                seen[relative] = where
                if relative not in images:
                    raise FileNotFoundError(
                        f'{folder / relative}: no such image, but {where} lists it. '
                        'Unpack the data set again or take the list that belongs '
                        'to it.'
                    )
                sample = self.parse_name(folder / relative)
                # The list is the authority on identities.
                sample |= {'pid': pid, 'is_query': part == 'query'}
                samples.append((relative, sample))
        return [sample for _, sample in sorted(samples, key=lambda item: item[0])]


def _read_list(path: Path) -> list[tuple[str, str, int]]:
    """Lines 'path identity' as (file and line, path, identity)."""
    if not path.is_file():
        raise FileNotFoundError(
            f'{path}: this list is missing; MSMT17 has {", ".join(LIST_NAMES)}.'
        )
    entries = []
    # surrogateescape: any bytes are allowed in file names.
    text = path.read_text(encoding='utf-8-sig', errors='surrogateescape')
    for number, line in enumerate(text.split('\n'), 1):
        if not line.strip():
            continue
        fields = line.strip().rsplit(maxsplit=1)
        good = len(fields) == 2 and re.fullmatch('[0-9]+', fields[1])
        if not good or not is_image_name(fields[0].rsplit('/', 1)[-1]):
            raise ValueError(
                f'{path}, line {number}: cannot parse {line.strip()!r}; expected an '
                'image and its identity, such as '
                "'0000/0000_000_01_0303morning_0008_0.jpg 0'."
            )
        entries.append((f'{path}, line {number}', fields[0], int(fields[1])))
    if not entries:
        raise ValueError(f'{path}: this list is empty; expected an image a line.')
    return entries
