# SPDX-License-Identifier: Apache-2.0
"""PersonFolder: a data set of your own crops in a folder tree."""

from __future__ import annotations

import logging
import os
import posixpath
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmreid_gcl.registry import DATASETS

from .annotation_file import ALIASES, read_annotation
from .image_folder import (
    ExistingFiles,
    is_image_name,
    is_system_folder,
    log,
    natural_key,
    raise_all,
    require_folder,
    walk_images,
)
from .reid_dataset import UNKNOWN, ReIDDataset
from .times import are_timestamps, is_integer, parse_times

#: ``pid`` of an image whose identity nobody gave. The metric leaves such
#: gallery images out, as it does junk; reports on pseudo-labels as well.
UNLABELLED = -1
#: Groups that a pattern may name.
GROUPS = ('camera', 'sequence', 'frame', 'time', 'track', 'pid')
PARTS = ('train', 'query', 'gallery')
#: Other names of splits, in lower case: of those beside ``train`` nobody trains on.
HELD_OUT = {
    *('val', 'valid', 'validation', 'dev', 'eval', 'evaluation', 'test', 'testing'),
    *('test_set', 'testset', 'probe', 'bounding_box_test', 'bbox_test'),
}
FOR_TRAINING = {
    *('training', 'train_all', 'train_set', 'trainset', 'bounding_box_train'),
    'bbox_train',
}
#: How names of folders look that are days, not cameras.
DATE = re.compile(r'(\d{4}[-_.]?\d\d[-_.]?\d\d|\d\d[-_.]\d\d[-_.]\d{4})(?!\d)')
#: So many "cameras" with so few images each are more likely people.
MANY_CAMERAS, FEW_IMAGES = 20, 50
#: How names of benchmarks begin: identity, camera.
BENCHMARK_NAME = re.compile(r'-?[0-9]{1,5}_c[0-9]{1,3}(s[0-9]|_)')
#: Where ``tools/dataset_converters/tracks_to_crops.py`` puts a crop, below the camera.
TRACK_FOLDER = re.compile(
    r'(?:(?P<sequence>.*)/)?(?P<track>track_[0-9]+)/(?P<frame>[0-9]{1,18})\.[^./]+'
)
#: MARS: identity, camera, track of the two, image in the track (which is no time).
MARS_NAME = re.compile(
    r'(?:.*/)?(?P<track>(?P<pid>[0-9]{4}|00-1)C(?P<camera>[0-9]+)T[0-9]+)F[0-9]+\.[^./]+'
)


class NoImagesError(FileNotFoundError):
    """A folder is there and read, and has no images of the split."""


@dataclass
class _Image:
    relative: str  # to the folder of its part, with '/'
    path: Path
    part: str
    place: str  # for messages
    fields: dict[str, Any] = field(default_factory=dict)
    camera_given: bool = False  # by the table or the pattern, not by a folder


@DATASETS.register_module()
class PersonFolder(ReIDDataset):
    r"""Images of people in a folder tree, unlabelled unless told otherwise.

    .. code-block:: text

        crops/                      crops/
        ├── entrance/               ├── train/entrance/….jpg
        │   ├── 000001.jpg          ├── query/entrance/<identity>/….jpg
        │   └── …                   └── gallery/hall/<identity>/….jpg
        └── hall/…

    On the left, everything is for training. On the right there are labelled
    images for evaluation as well; without a folder ``train``, everything but
    ``query`` and ``gallery`` is for training, see :func:`split_folders`. Only the
    split that is asked for is checked.

    **Camera**: the first sub-folder; or the group ``camera`` of ``pattern``;
    or the column ``camera`` of ``annotation``. Names become ``camid`` 0, 1, …
    in natural order ('cam2' before 'cam10'), the same in all splits;
    ``metainfo['cameras']`` holds the names.

    **Time**: ``sequence`` and ``frame`` (or ``time``) of the pattern or the
    annotation. Without them the natural order of the names, with a warning if the
    training uses it: sub-folders below the camera are sequences, images of a folder
    are frames. If your names begin with an identity, this puts images of one person
    side by side: give a pattern, or ``order_by_name=False``. When a file was modified
    is never looked at. ``time`` is an integer, seconds, or a timestamp
    (:func:`~mmreid_gcl.datasets.times.parse_times`); it takes the place of
    ``frame`` where both are given.

    **Track**: the group or the column ``track``; it holds for a camera and, where those
    are given, a sequence. Without pattern and annotation, two layouts have theirs:
    ``<camera>/[<sequence>/]track_000012/000345.jpg`` (:data:`TRACK_FOLDER`; the number
    is the frame) and ``0001/0001C1T0001F001.jpg`` (MARS; it has no time).

    **Identity**: the group or the column ``pid``, in ``query`` and ``gallery``
    else the second sub-folder. Training does not need it; where nobody gives
    it, ``pid`` is :data:`UNLABELLED`. Numbers stay as they are; if any
    identity is no number, or two are one number ('0001' and '1'), all are numbered
    in natural order, and ``metainfo['identities']`` holds their names.

    Args:
        data_root (str): The folder.
        split, pipeline, kwargs: See :class:`ReIDDataset`.
        camera (int, optional): Which sub-folder names the camera: 0 the first,
            1 the second, -1 the one that holds the image. None: all images
            come from one camera. Defaults to 0.
        pattern (str, optional): Regular expression, searched in the path
            relative to the folder (to ``train/``, ``query/``, ``gallery/``
            where those are), with '/' between the parts. Its named groups may
            be camera (or camid), sequence, frame, time, track and pid. For example
            ``r'cam(?P<camera>\d+)_(?P<time>\d{8}-\d{6})'``.
        annotation (str, optional): CSV or Parquet file, relative to
            ``data_root``, with the column path (likewise relative) and, as
            far as known, split ('train', 'query', 'gallery'; empty is train),
            camera (or camid), sequence, frame, time, track, pid. Then only the
            images in it are used. What it leaves empty, ``pattern`` fills.
        order_by_name (bool, optional): Whether names give the time where nothing
            else does. True says that this is right; False leaves the time unknown.
            Defaults to None: they do, and a training whose graphs use it warns.
        keep_missing (bool): List links to nothing and images that the annotation
            lists and are not there, for a caller that reports what it cannot read.
            Defaults to False: they are an error.

    Raises:
        FileNotFoundError: If the folder, the annotation, a listed image or
            the images of the split are missing (:class:`NoImagesError`).
        ValueError: If the pattern is broken or does not fit an image, a value
            cannot be read, a query image has no identity, or two folders are the
            same split.
    """

    def __init__(
        self,
        data_root: str,
        split: str = 'train',
        pipeline: Sequence[dict] = (),
        camera: int | None = 0,
        pattern: str | None = None,
        annotation: str | None = None,
        order_by_name: bool | None = None,
        keep_missing: bool = False,
        **kwargs,
    ) -> None:
        if camera is not None and (isinstance(camera, bool) or type(camera) is not int):
            raise ValueError(
                'PersonFolder: camera must be the number of a sub-folder (0 is the '
                f'first) or None, got {camera!r}.'
            )
        self.camera = camera
        self.pattern = None if pattern is None else _compile(pattern)
        self.annotation = annotation
        self.order_by_name = order_by_name
        self.keep_missing = keep_missing
        super().__init__(data_root, split=split, pipeline=pipeline, **kwargs)

    def load_data_list(self) -> list[dict]:
        """List the images of the split; all splits share one numbering."""
        root = Path(self.data_root)
        require_folder(root, 'images of people')
        wanted = ('query', 'gallery') if self.split == 'test' else (self.split,)
        listed = self._listed if self.annotation else self._walked
        images: list[_Image] = []
        errors: list[ValueError] = []
        elsewhere: list[ValueError] = []
        for image in listed(root, wanted):
            try:
                self._match_pattern(image)
                self._take_from_folders(image)
            except ValueError as error:
                # the other splits only give names of cameras and identities
                (errors if image.part in wanted else elsewhere).append(error)
            else:
                images.append(image)
        raise_all(errors)
        cameras = _number_names({image.fields['camera'] for image in images})
        identities = _number_labels(image.fields['pid'] for image in images)
        self._warn_of_people(images, len(cameras))
        self._metainfo['cameras'] = list(cameras)
        named = any(
            not name.isdecimal() or int(name) != pid for name, pid in identities.items()
        )
        self._metainfo['identities'] = list(identities) if named else []
        moments = [i.fields.get('time', '') for i in images if i.part in wanted]
        self.timestamps = are_timestamps(moments)
        samples: list[dict] = []
        for part in wanted:
            found = [image for image in images if image.part == part]
            if not found:
                raise_all(elsewhere)  # perhaps why
            self._require_images(root, part, found)
            found.sort(key=lambda image: image.relative.split('/'))
            times = self._times(found, part)
            samples += [
                {
                    'img_path': str(image.path),
                    'pid': identities.get(image.fields['pid'], UNLABELLED),
                    'camid': cameras[image.fields['camera']],
                    'sequence': sequence,
                    'frame': frame,
                    'track': _track(image),
                    'is_query': part == 'query',
                }
                for image, (sequence, frame) in zip(found, times)
            ]
            self._log_part(part, samples[-len(found) :])
        return samples

    def _walked(self, root: Path, wanted: Sequence[str]) -> Iterable[_Image]:
        """The images of the folder tree."""
        folders, skip = split_folders(root)
        for part, folder in sorted(folders.items(), key=lambda i: PARTS.index(i[0])):
            log(f'PersonFolder {part}: reading {folder}')
            skipped = skip if folder == root else ()
            keep_broken = self.keep_missing or part not in wanted
            for relative in walk_images(folder, skipped, keep_broken):
                path = folder / relative
                yield _Image(relative, path, part, str(path))

    def _listed(self, root: Path, wanted: Sequence[str]) -> Iterable[_Image]:
        """The images of the annotation file."""
        assert self.annotation is not None
        existing = ExistingFiles(root)
        seen: dict[str, str] = {}
        for place, fields in read_annotation(root / self.annotation):
            relative = _relative_to(root, fields.pop('path'))
            part = fields.pop('split', '') or 'train'
            if part not in PARTS:
                raise ValueError(
                    f'{place}: split is {part!r}; expected one of {PARTS}, or empty '
                    'for train.'
                )
            if not is_image_name(relative.rsplit('/', 1)[-1]):
                raise ValueError(f'{place}: {relative!r} has no image ending.')
            if relative in seen:
                raise ValueError(
                    f'{place}: {relative!r} stands already in {seen[relative]}; '
                    'expected every image once.'
                )
            seen[relative] = place
            needed = part in wanted and not self.keep_missing
            if needed and relative not in existing:
                raise FileNotFoundError(
                    f'{root / relative}: no such image, but {place} lists it; paths '
                    'are relative to data_root.'
                )
            given = {name: value for name, value in fields.items() if value}
            yield _Image(relative, root / relative, part, place, given)

    def _match_pattern(self, image: _Image) -> None:
        if self.pattern is None:
            layouts = () if self.annotation else (TRACK_FOLDER, MARS_NAME)
            for match in filter(None, (x.fullmatch(image.relative) for x in layouts)):
                given = match.groupdict().items()
                image.fields.update((name, value) for name, value in given if value)
            return
        match = self.pattern.search(image.relative)
        if match is None:
            raise ValueError(
                f'{image.path}: the pattern {self.pattern.pattern!r} does not match '
                f'{image.relative!r}. Correct the pattern or move the file.'
            )
        for name, value in match.groupdict().items():
            if value:
                image.fields.setdefault(ALIASES.get(name, name), value)

    def _take_from_folders(self, image: _Image) -> None:
        """Fill in camera and identity that neither table nor pattern gave."""
        folders = image.relative.split('/')[:-1]
        if self.pattern is None and TRACK_FOLDER.fullmatch(image.relative):
            del folders[-1]  # names a track, no camera and no identity
        image.camera_given = 'camera' in image.fields
        if not image.camera_given:
            image.fields['camera'] = self._camera_folder(image, folders)
        pid = image.fields.get('pid')
        if pid is None and image.part != 'train' and self.annotation is None:
            has_group = self.pattern is not None and 'pid' in self.pattern.groupindex
            if not has_group and self.camera == 0 and len(folders) > 1:
                pid = folders[1]
        pid = None if pid in (None, '', '-1', '00-1') else pid
        if pid is None and image.part == 'query':
            raise ValueError(
                f'{image.place}: this query image has no identity. Expected it as '
                'the second sub-folder (query/<camera>/<identity>/…), as the group '
                "'pid' of the pattern, or in the column 'pid' of the annotation."
            )
        image.fields['pid'] = pid

    def _camera_folder(self, image: _Image, folders: list[str]) -> str:
        if self.camera is None or (not folders and self.camera in (0, -1)):
            return '.'
        if folders and folders[0] in ('', '..') and self.camera >= 0:
            raise ValueError(
                f'{image.place}: {image.relative!r} is not in data_root, so no '
                "sub-folder can name its camera. Give a column 'camera', or camera=-1."
            )
        try:
            return folders[self.camera]
        except IndexError:
            raise ValueError(
                f'{image.path}: camera={self.camera} is the number of a sub-folder '
                f'(0 is the first), but {image.relative!r} has {len(folders)} of them.'
            ) from None

    def _warn_of_people(self, images: list[_Image], cameras: int) -> None:
        """Say so if folders look like people or splits, or names like a benchmark's."""
        train = [image for image in images if image.part == 'train']
        named = [image for image in train if not image.camera_given]
        if (
            self.camera is not None
            and named
            and cameras >= MANY_CAMERAS
            and len(images) < cameras * FEW_IMAGES
        ):
            log(
                f'PersonFolder: {cameras:,} sub-folders are taken for cameras, with '
                f'{len(images) / cameras:.0f} images each on average. If they are '
                'people, not cameras, the order of the images tells the clustering '
                'what it should find out: give camera=None (or the number of the '
                'sub-folder that is the camera, or a pattern) and '
                'order_by_name=False.',
                logging.WARNING,
            )
        self._warn_of_dates([image for image in images if not image.camera_given])
        splits = {*PARTS, *HELD_OUT, *FOR_TRAINING}
        mixed = {
            name
            for image in train
            for name in image.relative.split('/')[:-1]
            if name.casefold() in splits
        }
        if mixed and self.annotation is None:
            log(
                f'PersonFolder: the folders {", ".join(sorted(mixed))} look like '
                'splits, and all images in them are for training. If that is wrong, '
                'give the folder of one split as data_root.',
                logging.WARNING,
            )
        if train and self.pattern is None and self.annotation is None:
            alike = sum(
                bool(BENCHMARK_NAME.match(i.relative.rpartition('/')[2])) for i in train
            )
            if alike > len(train) / 2:
                log(
                    f'PersonFolder: {alike:,} of {len(train):,} names look like '
                    f'{Path(train[0].relative).name}, as in Market-1501 and others: '
                    'identity, then camera. Those have a type of their own '
                    "(type='Market1501', …), or give "
                    r"pattern=r'_c(?P<camera>\d+)' and order_by_name=False.",
                    logging.WARNING,
                )

    def _warn_of_dates(self, images: list[_Image]) -> None:
        """Say so if the folders taken for cameras are days with cameras in them."""
        names = {image.fields['camera'] for image in images} - {'.'}
        if self.camera is None or not names or not all(map(DATE.match, names)):
            return
        inner = {
            tuple(image.relative.split('/')[:-1][self.camera :]) for image in images
        }
        below = {folders[1] for folders in inner if len(folders) > 1}
        shown = ', '.join(sorted(names, key=natural_key)[:3])
        advice = 'give a pattern or a table that names the camera, or camera=None'
        if below and self.camera >= 0:
            first = min(below, key=natural_key)
            number = self.camera + 1
            advice = (
                f'if the folders in them are ({first}, …), give camera={number} '
                f'(--camera {number} of the tools that read a folder, --options '
                f'camera={number} of tools/data/check.py, '
                f'train_dataloader.dataset.camera={number} of a config)'
            )
        log(
            f'PersonFolder: the folders taken for cameras look like dates ({shown}); '
            f'{advice}.',
            logging.WARNING,
        )

    def _times(self, images: list[_Image], part: str) -> list[tuple[int, int]]:
        """Sequence and frame of images that are sorted by path."""
        places = [image.place for image in images]

        def column(name: str) -> list[str]:
            return [image.fields.get(name, '') for image in images]

        sequences, frames, times = map(column, ('sequence', 'frame', 'time'))
        if not any(sequences) and not any(frames) and not any(times):
            return self._times_by_name(images, part)
        for frame, place in zip(frames, places):
            if frame and not is_integer(frame):
                raise ValueError(
                    f'{place}: frame is {frame!r}; expected an integer below 2**63 '
                    "(timestamps go into 'time')."
                )
        numbers = _number_labels(sequences)
        if any(times):
            moments = parse_times(times, places)
        else:
            moments = [int(frame) if frame else UNKNOWN for frame in frames]
        return [
            (numbers.get(sequence, UNKNOWN), moment)
            for sequence, moment in zip(sequences, moments)
        ]

    def _times_by_name(self, images: list[_Image], part: str) -> list[tuple[int, int]]:
        mars = any(MARS_NAME.fullmatch(image.relative) for image in images)
        if self.order_by_name is False or mars:
            return [(UNKNOWN, UNKNOWN)] * len(images)
        self.times_from_names = self.order_by_name is None
        log(
            f'PersonFolder {part}: nothing gives the time, so the natural order of the '
            'names is taken for it.'
        )
        folders: dict[str, list[_Image]] = defaultdict(list)
        for image in images:
            folders[image.relative.rpartition('/')[0]].append(image)
        found = {}
        for sequence, folder in enumerate(sorted(folders, key=natural_key)):
            ordered = sorted(folders[folder], key=lambda i: natural_key(i.relative))
            for frame, image in enumerate(ordered):
                found[image.relative] = sequence, frame
        return [found[image.relative] for image in images]

    def _require_images(self, root: Path, part: str, found: list[_Image]) -> None:
        if found:
            return
        source = root / self.annotation if self.annotation else root
        if part == 'train':
            raise NoImagesError(
                f'{source}: expected images (.jpg, .png, …), found none.'
            )
        raise NoImagesError(
            f'{source}: expected {part} images, found none. For an evaluation, put '
            'labelled images into the folders query and gallery '
            '(<camera>/<identity>/….jpg), or give an annotation with the columns '
            'split and pid. Without labels, train with val_dataloader=None and '
            'test_dataloader=None.'
        )

    def _log_part(self, part: str, samples: list[dict]) -> None:
        cameras = sorted({sample['camid'] for sample in samples})
        names = [self._metainfo['cameras'][camid] for camid in cameras]
        shown = ', '.join(names[:8]) + (', …' if len(names) > 8 else '')
        pids = {sample['pid'] for sample in samples} - {UNLABELLED}
        unlabelled = sum(sample['pid'] == UNLABELLED for sample in samples)
        log(
            f'PersonFolder {part}: {len(samples):,} images, {len(cameras)} cameras '
            f'({shown}), {len(pids):,} identities, {unlabelled:,} images unlabelled'
        )


def _track(image: _Image) -> tuple | None:
    """What tells a track from others of its camera, in all its sequences."""
    track = image.fields.get('track')
    return (image.fields.get('sequence'), track) if track not in (None, '-1') else None


def split_folders(root: Path) -> tuple[dict[str, Path], list[str]]:
    """Which sub-folders of a folder of crops are splits; the log says so.

    ``train``, ``query`` and ``gallery`` in upper or lower case are. ``train`` with
    neither of the others is one if nothing else has images, or beside a name of
    :data:`HELD_OUT` (PRCC: train, val, test); else it is a camera of that name.
    Returned are the folder of each split that there is ('train' may be ``root``
    itself), and the names in ``root`` not to train on.
    """
    with os.scandir(root) as entries:
        found = list(entries)
    names = sorted(
        e.name for e in found if os.path.isdir(e.path) and not is_system_folder(e.name)
    )
    loose = any(is_image_name(e.name) and not os.path.isdir(e.path) for e in found)
    folders: dict[str, Path] = {}
    for name in names:
        part = name.casefold()
        if part in folders:
            raise ValueError(
                f'{root}: {folders[part].name} and {name} are both the split {part}. '
                'Join or rename them.'
            )
        if part in PARTS:
            folders[part] = root / name
    held_out = [name for name in names if name.casefold() in HELD_OUT]
    evaluation = [path.name for part, path in folders.items() if part != 'train']
    others = sorted({*names} - {path.name for path in folders.values()})
    if 'train' in folders and (
        held_out
        or evaluation
        or not (loose or any(_has_images(root / name) for name in others))
    ):
        left = [*others, *['the images beside them'] * loose]
        skip = []
    else:
        folders['train'] = root
        left = held_out if evaluation else []
        skip = [*evaluation, *left]
    if left:
        shown = ', '.join(left[:8]) + (', …' if len(left) > 8 else '')
        log(f'{root}: not for training: {shown}', logging.WARNING)
    return folders, skip


def _has_images(folder: Path) -> bool:
    return any(any(map(is_image_name, names)) for _, _, names in os.walk(folder))


def _compile(pattern: str) -> re.Pattern[str]:
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise ValueError(
            f'PersonFolder: pattern {pattern!r} is no regular expression ({error}).'
        ) from error
    names = [ALIASES.get(name, name) for name in compiled.groupindex]
    if not names or set(names) - set(GROUPS) or len(set(names)) < len(names):
        raise ValueError(
            f'PersonFolder: pattern {pattern!r} has the named groups '
            f'{list(compiled.groupindex)}; expected some of {GROUPS}, each once.'
        )
    return compiled


def _relative_to(root: Path, path: str) -> str:
    """A listed path without detours; relative to ``root`` if it is in there."""
    path = posixpath.normpath(path)
    try:
        return Path(path).relative_to(root).as_posix()
    except ValueError:
        return path


def _number_names(names: Iterable[str]) -> dict[str, int]:
    return {name: i for i, name in enumerate(sorted(names, key=natural_key))}


def _number_labels(names: Iterable[str | None]) -> dict[str, int]:
    """Numbers as they are; if they are no numbers or not distinct, in order."""
    given = {name for name in names if name}
    if all(is_integer(name) for name in given):
        numbers = {name: int(name) for name in sorted(given, key=natural_key)}
        if len(set(numbers.values())) == len(numbers):
            return numbers
    return _number_names(given)
