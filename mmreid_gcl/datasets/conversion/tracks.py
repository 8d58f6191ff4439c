# SPDX-License-Identifier: Apache-2.0
"""What a tracker wrote about a video, as a folder of crops for each track."""

from __future__ import annotations

import hashlib
import logging
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from ..image_folder import is_image_name, list_images, log, natural_key
from ..inspection import read_bytes
from .output import Output, finished_record

#: Columns of a MOT file that are needed; conf and what follows are optional.
COLUMNS = ('frame', 'id', 'x', 'y', 'w', 'h')
#: Columns of the ground truth of MOT16, MOT17 and MOT20: conf says whether a row
#: counts, class and visibility follow.
TRUTH_COLUMNS = 9
PEDESTRIAN = 1
#: Of any value: what a float holds exactly.
LARGEST = 2.0**53


@dataclass(frozen=True)
class Boxes:
    """Rows of a MOT file, sorted by track, then frame.

    Attributes:
        frames (np.ndarray): (N,) int64, as the file counts.
        tracks (np.ndarray): (N,) int64 ids, 0 or more.
        corners (np.ndarray): (N, 4) float64 left, top, right, bottom, in pixels.
        lines (np.ndarray): (N,) int64, from 1.
        left_out (dict[str, int]): Rows that are not among them, by reason.
    """

    frames: np.ndarray
    tracks: np.ndarray
    corners: np.ndarray
    lines: np.ndarray
    left_out: dict[str, int]

    def __len__(self) -> int:
        return len(self.frames)

    def select(self, rows: np.ndarray) -> Boxes:
        """Some of the rows."""
        names = ('frames', 'tracks', 'corners', 'lines')
        return replace(self, **{name: getattr(self, name)[rows] for name in names})


def read_mot(
    path: str | Path,
    min_confidence: float | None = None,
    classes: Collection[int] | None = None,
    first_frame: int = 1,
) -> Boxes:
    """Read tracks in the text format of MOTChallenge: frame, id, x, y, w, h, conf, ...

    Values are separated by commas or blanks; rows come in any order. A row without an
    id (-1) is left out, and so is one of less than ``min_confidence`` or of another
    class (the eighth of nine columns) than ``classes``. With nine columns, as in the
    ground truth of MOT16, MOT17 and MOT20, rows whose seventh is 0 are not to be
    considered, and ``classes`` is by default that of pedestrians, 1.

    Raises:
        ValueError: If a row cannot be read, is not finite, has a negative size or a
            frame before ``first_frame``, a frame has an id twice, or nothing is left.
            The message names the line.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f'{path}: no such file; expected tracks, a line {",".join(COLUMNS)},conf.'
        )
    try:
        lines = path.read_text(encoding='utf-8-sig').splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(
            f'{path}: this is no text file ({error}); expected tracks, a line '
            f'{",".join(COLUMNS)},conf.'
        ) from error
    left_out: Counter[str] = Counter()
    seen: dict[tuple[int, int], int] = {}
    rows: list[tuple[float, ...]] = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        place = f'{path}, line {number}'
        values = _values(line, place, first_frame)
        frame, track = int(values[0]), int(values[1])
        if reason := _reason(values, min_confidence, classes):
            left_out[reason] += 1
            continue
        if (frame, track) in seen:
            raise ValueError(
                f'{place}: frame {frame} has the id {track} twice, first in line '
                f'{seen[frame, track]}. An id is one person in one place; correct the '
                'file.'
            )
        seen[frame, track] = number
        rows.append((*values[:6], number))
    if not rows:
        why = ', '.join(f'{count:,} {reason}' for reason, count in left_out.items())
        raise ValueError(
            f'{path}: no row is left{f" ({why})" if why else ""}; expected tracks, a '
            f'line {",".join(COLUMNS)},conf with an id of 0 or more.'
        )
    table = np.array(rows)
    table = table[np.lexsort((table[:, 0], table[:, 1]))]
    corners = np.concatenate([table[:, 2:4], table[:, 2:4] + table[:, 4:6]], axis=1)
    frames, tracks, numbers = table[:, [0, 1, 6]].astype(np.int64).T
    return Boxes(frames, tracks, corners, numbers, dict(left_out))


def _values(line: str, place: str, first_frame: int) -> list[float]:
    """The numbers of a line."""
    texts = line.split(',') if ',' in line else line.split()
    try:
        values = [float(text) for text in texts]
    except ValueError:
        values = []
    if len(values) < len(COLUMNS):
        raise ValueError(
            f'{place}: expected numbers {",".join(COLUMNS)} and perhaps more, found '
            f'{line.strip()!r}.'
        )
    for name, value in zip((*COLUMNS, 'conf', 'class'), values):
        whole = name in ('frame', 'id')
        if not abs(value) < LARGEST or (whole and value % 1):  # not: NaN as well
            kind = 'a whole number' if whole else 'a number'
            raise ValueError(f'{place}: {name} is {value}; expected {kind}.')
    if values[0] < first_frame:
        raise ValueError(
            f'{place}: frame is {values[0]:.0f}, but {first_frame} is the first. If '
            'the file counts otherwise, give --first-frame.'
        )
    if min(values[4:6]) < 0:
        raise ValueError(
            f'{place}: w x h is {values[4]:g} x {values[5]:g}; expected a size in '
            'pixels (x and y are of the upper left corner).'
        )
    return values


def _reason(
    values: Sequence[float],
    min_confidence: float | None,
    classes: Collection[int] | None,
) -> str | None:
    """Why a row is left out."""
    truth = len(values) == TRUTH_COLUMNS
    if values[1] < 0:
        return 'without an id'
    if truth and values[6] == 0:
        return 'not to be considered (conf 0)'
    if min_confidence is not None and len(values) > 6 and values[6] < min_confidence:
        return f'below the confidence {min_confidence:g}'
    wanted = (PEDESTRIAN,) if classes is None and truth else classes
    if wanted is not None and len(values) > 7 and int(values[7]) not in wanted:
        return f'of class {values[7]:g}'
    return None


def convert_tracks(
    tracks: str | Path,
    source: str | Path,
    out: str | Path,
    every: int = 1,
    at_most: int | None = None,
    min_size: tuple[int, int] = (32, 16),
    min_confidence: float | None = None,
    classes: Collection[int] | None = None,
    first_frame: int = 1,
    quality: int = 95,
    overwrite: bool = False,
    progress: bool = True,
    min_visible: float = 0.5,
) -> dict[str, int]:
    """Cut the boxes of tracks out of the frames of one camera.

    Writes ``track_000012/000345.jpg`` (track, frame), which
    :class:`~mmreid_gcl.datasets.PersonFolder` reads where ``out`` is the folder of a
    camera, or of a sequence in it. A conversion that broke off goes on when it is
    repeated. Boxes are clipped to the picture.

    Args:
        tracks (str | Path): File of :func:`read_mot`.
        source (str | Path): A video that OpenCV decodes, or a folder of pictures whose
            names end in the number of the frame (``img1/000001.jpg``). Numbers that
            begin with 0 are taken for positions: the first is ``first_frame``.
        out (str | Path): Folder to fill, see :class:`Output`.
        every (int): Takes each n-th image of a track. Defaults to 1: all.
        at_most (int, optional): Images of a track, evenly spread. Defaults to all.
        min_size (tuple[int, int]): Smallest (height, width) of a crop, in pixels.
        min_confidence (float, optional): See :func:`read_mot`.
        classes (Collection[int], optional): Likewise.
        first_frame (int): Number of a video's first frame in ``tracks``.
        quality (int): Of the JPEG files, 1 to 100.
        overwrite (bool): Whether to replace a finished conversion.
        progress (bool): Whether to show a bar.
        min_visible (float): Smallest share of a box that is in the picture, 0 to 1.

    Returns:
        dict[str, int]: ``crops``, ``tracks`` with crops, ``clipped`` crops, and what
        was left out: boxes that are ``tiny`` or outside the picture, boxes of which too
        much is outside (``hidden``), boxes in ``missing`` frames, ``empty_tracks``, and
        a count for each reason of :func:`read_mot`.

    Raises:
        FileNotFoundError: If a file or the pictures are missing.
        ValueError: If a file cannot be read or a setting is out of range, before
            anything is written; if no frame is there, or their sizes differ.
    """
    for name, value, top in (('every', every, None), ('quality', quality, 100)):
        if value < 1 or (top and value > top):
            raise ValueError(f'{name} must be 1{f" to {top}" if top else " or more"}.')
    if at_most is not None and at_most < 1:
        raise ValueError(f'at_most must be 1 or more, got {at_most}.')
    if not 0 <= min_visible <= 1:
        raise ValueError(f'min_visible must be in [0, 1], got {min_visible}.')
    if min(min_size) < 1:
        raise ValueError(f'min_size must be 1 x 1 or more, got {min_size}.')
    boxes = read_mot(tracks, min_confidence, classes, first_frame)
    frames = _Frames(Path(source), first_frame)
    clipped = boxes.corners.round().clip(0, [*frames.size[::-1]] * 2).astype(np.int64)
    width, height = (clipped[:, 2:] - clipped[:, :2]).T
    large = (height >= min_size[0]) & (width >= min_size[1])
    whole = (boxes.corners[:, 2:] - boxes.corners[:, :2]).prod(axis=1)
    hidden = large & (width * height < min_visible * whole)
    counts = dict(boxes.left_out)
    counts |= dict(tiny=int((~large).sum()), hidden=int(hidden.sum()))
    large = np.flatnonzero(large & ~hidden)
    if not len(large):
        raise ValueError(
            f'{tracks}: no box has {min_size[0]} x {min_size[1]} pixels (height x '
            f'width), and {min_visible:.0%} of it, in the pictures of {source}, which '
            f'have {frames.size[0]} x {frames.size[1]}. Do the two belong together? '
            'Else give --min-size or --min-visible.'
        )
    rows = large[spread_rows(boxes.tracks[large], every, at_most)]
    chosen, corners = boxes.select(rows), clipped[rows]
    settings = dict(
        tracks=hashlib.sha256(read_bytes(tracks), usedforsecurity=False).hexdigest(),
        source=str(source),
        every=every,
        at_most=at_most,
        min_size=list(min_size),
        min_visible=min_visible,
        min_confidence=min_confidence,
        classes=None if classes is None else sorted(classes),
        first_frame=first_frame,
        quality=quality,
    )
    before = {} if overwrite else finished_record(out)
    if _is_whole(before, settings, out):
        log(f'{out}: this is converted already; --overwrite does it again')
        return before['counts']
    output = Output(out, overwrite, ('track_*',), settings)
    done, missing = _write(frames, chosen, corners, output, quality, progress)
    cut = (corners != boxes.corners[rows].round()).any(axis=1)
    counts |= dict(
        crops=int(done.sum()),
        tracks=len(np.unique(chosen.tracks[done])),
        clipped=int((cut & done).sum()),
        missing=missing,
        empty_tracks=len(np.setdiff1d(boxes.tracks, chosen.tracks[done])),
    )
    if missing:
        row = np.flatnonzero(~done)[chosen.frames[~done].argmin()]
        message = (
            f'{source}: cannot read frame {chosen.frames[row]} of {tracks}, line '
            f'{chosen.lines[row]}, and {missing - 1:,} more of {len(done):,} boxes are '
            'in frames that are missing or cannot be decoded.'
        )
        if not done.any():
            raise ValueError(message)
        log(message, logging.WARNING)
    output.finish(converter='tracks_to_crops', **settings, counts=counts)
    return counts


def _is_whole(record: dict, settings: dict, out: str | Path) -> bool:
    """Whether a finished conversion has the same settings and all that it can have."""
    counts = record.get('counts')
    return (
        isinstance(counts, dict)
        and record.get('converter') == 'tracks_to_crops'
        and all(record.get(name) == value for name, value in settings.items())
        and counts.get('missing') == 0
        and counts.get('crops') == len([*Path(out).expanduser().glob('track_*/*')])
    )


def spread_rows(tracks: np.ndarray, every: int, at_most: int | None) -> np.ndarray:
    """Every n-th row of each track, and of these ``at_most``, evenly spread.

    Args:
        tracks (np.ndarray): (N,) sorted.
        every (int): 1 or more.
        at_most (int, optional): 1 or more.

    Returns:
        np.ndarray: Rows, ascending.
    """
    chosen = []
    starts = np.unique(tracks, return_index=True)[1]
    for rows in np.split(np.arange(len(tracks)), starts[1:]):
        rows = rows[::every]
        if at_most is not None and len(rows) > at_most:
            # the middles of as many equal parts
            places = (np.arange(at_most) + 0.5) * len(rows) / at_most
            rows = rows[places.astype(np.int64)]
        chosen.append(rows)
    return np.concatenate(chosen)


def _write(
    frames: _Frames,
    boxes: Boxes,
    corners: np.ndarray,
    output: Output,
    quality: int,
    progress: bool,
) -> tuple[np.ndarray, int]:
    """Which crops are there now, (N,) bool, and boxes in frames that are not."""
    names = [
        f'track_{track:06d}/{frame:06d}.jpg'
        for track, frame in zip(boxes.tracks.tolist(), boxes.frames.tolist())
    ]
    done = np.array([output.has(name) for name in names])
    wanted: dict[int, list[int]] = {}
    for row in np.flatnonzero(~done).tolist():
        wanted.setdefault(int(boxes.frames[row]), []).append(row)
    for frame, image in frames.read(wanted, progress):
        for row in wanted[frame]:
            left, top, right, bottom = corners[row]
            crop = np.ascontiguousarray(image[top:bottom, left:right])
            options = [cv2.IMWRITE_JPEG_QUALITY, quality]
            data = cv2.imencode('.jpg', crop, options)[1].tobytes()
            output.write(names[row], data)
            done[row] = True
    return done, int((~done).sum())


class _Frames:
    """The frames of a video or a folder of pictures, read one after the other.

    Attributes:
        size (tuple[int, int]): (height, width) of the first, in pixels.
    """

    def __init__(self, source: Path, first_frame: int) -> None:
        self.source = source.expanduser()
        self.first_frame = first_frame
        self.pictures: dict[int, Path] | None = None
        if self.source.is_dir():
            self.pictures = self._number(list_images(self.source))
        elif not self.source.is_file():
            raise FileNotFoundError(
                f'{source}: no such video, nor a folder of pictures (img1/000001.jpg).'
            )
        elif is_image_name(self.source.name):
            raise ValueError(
                f'{source}: this is one picture; give the folder that holds all.'
            )
        first = None if self._is_text() else self._first()
        if first is None:
            raise ValueError(
                f'{source}: OpenCV cannot decode this; expected a video, or a folder '
                'of pictures. Convert it: ffmpeg -i IN -c:v libx264 OUT.mp4'
            )
        self.size: tuple[int, int] = first.shape[:2]

    def _number(self, names: list[str]) -> dict[int, Path]:
        """Pictures by the number that their names end in."""
        found: dict[int, Path] = {}
        for name in sorted(names, key=natural_key):
            digits = re.search(r'([0-9]{1,18})\.[^.]+$', name)
            number = int(digits[1]) if digits else -1
            if not digits or number in found:
                raise ValueError(
                    f'{self.source / name}: expected a name that ends in the number of '
                    'its frame, as 000001.jpg'
                    + (f', but {found[number].name} has it.' if digits else '.')
                )
            found[number] = self.source / name
        shift = self.first_frame if 0 in found else 0
        return {number + shift: path for number, path in found.items()}

    def _is_text(self) -> bool:
        """OpenCV takes a text for a film of its letters."""
        if self.pictures is not None:
            return False
        with open(self.source, 'rb') as file:
            begin = file.read(4096)
        return not begin.startswith(b'YUV4MPEG2') and min(begin, default=0) >= 9

    def _first(self) -> np.ndarray | None:
        """The first picture that can be decoded."""
        if self.pictures is not None:
            images = map(_decode, self.pictures.values())
            return next((image for image in images if image is not None), None)
        capture = cv2.VideoCapture(str(self.source))
        try:
            return capture.read()[1]
        finally:
            capture.release()

    def read(
        self, wanted: Collection[int], progress: bool
    ) -> Iterator[tuple[int, np.ndarray]]:
        """Frames that are wanted and there, ascending; others are not decoded."""
        if self.pictures is not None:
            for frame in self._bar(sorted(wanted), progress):
                path = self.pictures.get(frame)
                image = None if path is None else _decode(path)
                if path is not None and image is not None:
                    self._check(image, path)
                    yield frame, image
            return
        capture = cv2.VideoCapture(str(self.source))
        last = max(wanted, default=self.first_frame - 1)
        try:
            for frame in self._bar(range(self.first_frame, last + 1), progress):
                if not capture.grab():
                    return
                if frame in wanted:
                    decoded, image = capture.retrieve()
                    if decoded:
                        yield frame, image
        finally:
            capture.release()

    def _bar(self, frames: Collection[int], progress: bool) -> Iterable[int]:
        return tqdm(frames, self.source.name, unit=' frames', disable=not progress)

    def _check(self, image: np.ndarray, path: Path) -> None:
        if image.shape[:2] != self.size:
            raise ValueError(
                f'{path}: this picture has {image.shape[0]} x {image.shape[1]} pixels '
                f'(height x width), the first {self.size[0]} x {self.size[1]}. Tracks '
                'belong to pictures of one size. What is written is kept.'
            )


def _decode(path: Path) -> np.ndarray | None:
    """A picture, BGR; None if it cannot be read."""
    try:
        return cv2.imdecode(np.frombuffer(read_bytes(path), np.uint8), cv2.IMREAD_COLOR)
    except (OSError, cv2.error):
        return None
