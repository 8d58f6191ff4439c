# SPDX-License-Identifier: Apache-2.0
"""The plan of the set: who passes which camera when, and file names."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from .seeds import PLAN, TRACK, generator

TRAIN, QUERY, GALLERY = 'bounding_box_train', 'query', 'bounding_box_test'
FOLDERS = (TRAIN, QUERY, GALLERY)
#: Frames between two images of a tracklet, and people in view at a time.
FRAME_STEP = 8
IN_VIEW = 3.5
SEQUENCES = 3
#: Names have six digits for the frame.
LAST_FRAME = 999_999


@dataclass(frozen=True)
class Layout:
    """How large the data set is; a number out of range is a ValueError."""

    num_train_ids: int = 120  #: Identities in the training set
    num_test_ids: int = 100  #: Identities in query and gallery
    num_cameras: int = 5  #: Cameras
    visit_rate: float = 0.8  #: Share of the cameras that a person passes; two at least
    tracklets_per_camera: int = 1  #: Times a person passes a camera
    tracklet_length: int = 6  #: Images of a tracklet; a quarter more or less
    #: Share of tracklets with pid 0, relative to those of the test identities
    distractors: float = 0.15
    junk: float = 0.05  #: Likewise for pid -1

    def __post_init__(self) -> None:
        least = dict(num_train_ids=1, num_test_ids=1, num_cameras=2, visit_rate=0)
        least |= dict(tracklets_per_camera=1, tracklet_length=2, distractors=0, junk=0)
        for name, low in least.items():
            if getattr(self, name) < low:
                raise ValueError(
                    f'{name} must be at least {low}, got {getattr(self, name)}.'
                )
        if self.visit_rate > 1:
            raise ValueError(f'visit_rate must be at most 1, got {self.visit_rate}.')

    def with_num_images(self, num_images: int) -> Layout:
        """The layout with as many identities as make about ``num_images`` in all.

        Training and test identities keep their proportion.
        """
        extra = 1 + self.distractors + self.junk
        share = self.num_train_ids / (self.num_train_ids + self.num_test_ids * extra)
        cameras = max(2.0, self.visit_rate * self.num_cameras)
        per_id = cameras * self.tracklets_per_camera * self.tracklet_length
        train = max(1, round(num_images * share / per_id))
        test = max(1, round(num_images * (1 - share) / per_id / extra))
        return replace(self, num_train_ids=train, num_test_ids=test)


@dataclass(frozen=True)
class Tracklet:
    """One person passing one camera once."""

    key: int  #: Number of the tracklet, seeds its images
    pid: int  #: Identity; 0 is a distractor, -1 junk
    person: int  #: Whose appearance
    camera: int  #: From 1 on
    sequence: int  #: From 1 on
    frames: tuple[int, ...]  #: On the camera's clock, within the sequence
    box: int  #: Which box of the frame, from 1 on
    folders: tuple[str, ...]  #: Where each image goes

    def names(self) -> Iterator[tuple[str, str]]:
        """Folder and file name of each image, as Market-1501 has them."""
        pid = f'{self.pid:04d}' if self.pid >= 0 else str(self.pid)
        for frame, folder in zip(self.frames, self.folders):
            box = 0 if folder == QUERY else self.box
            where = f'c{self.camera}s{self.sequence}'
            yield folder, f'{pid}_{where}_{frame:06d}_{box:02d}.jpg'


@dataclass
class _Visit:
    pid: int
    person: int
    camera: int
    length: int
    query: int  # which image of it, -1 for none
    begin: int = 0


def _visits(rng, layout: Layout, people: list[tuple[int, int]]) -> list[_Visit]:
    """Everybody's way from camera to camera; times are filled in later."""
    visits = []
    spread = layout.tracklet_length // 4
    low = max(2, layout.tracklet_length - spread)
    high = layout.tracklet_length + spread
    for pid, person in people:
        cameras = rng.permutation(layout.num_cameras) + 1
        seen = max(2, int(rng.binomial(layout.num_cameras, layout.visit_rate)))
        if pid <= 0:
            seen = 1
        for camera in cameras[:seen]:
            for lap in range(layout.tracklets_per_camera if pid > 0 else 1):
                length = int(rng.integers(low, high + 1))
                query = int(rng.integers(length)) if lap == 0 and pid > 0 else -1
                visits.append(_Visit(pid, person, int(camera), length, query))
    return visits


def _set_times(rng, layout: Layout, visits: list[_Visit]) -> int:
    """Begin each visit so that some people are in view at the same time.

    People enter at random moments and need time from camera to camera. The recording is
    as long (frames, returned) as makes ``IN_VIEW`` people visible at a time in a
    camera.
    """
    shown = sum(visit.length for visit in visits) * FRAME_STEP
    duration = max(1, int(shown / layout.num_cameras / IN_VIEW))
    entry: dict[int, int] = {}
    for visit in visits:
        if visit.person not in entry:
            entry[visit.person] = int(rng.integers(duration))
        begin = entry[visit.person]
        visit.begin = begin % duration
        walk = visit.length * FRAME_STEP + int(rng.integers(20, 200))
        entry[visit.person] = begin + walk
    return duration


def _split_tracklets(
    rng, layout: Layout, visits: list[_Visit], train: bool, first_key: int
) -> list[Tracklet]:
    duration = _set_times(rng, layout, visits)
    visits.sort(key=lambda visit: (visit.camera, visit.begin))
    part = -(-duration // SEQUENCES)
    first_sequence = 1 if train else 1 + SEQUENCES
    tracklets: list[Tracklet] = []
    until: dict[tuple[int, int], list[int]] = {}
    for visit in visits:
        sequence, begin = divmod(visit.begin, part)
        frames = 1 + begin + FRAME_STEP * np.arange(visit.length)
        if frames[-1] > LAST_FRAME:
            raise ValueError(
                f'Frame {frames[-1]} does not fit into six digits; use more '
                'cameras or fewer images.'
            )
        # A box number is free again when whoever had it has left.
        ends = until.setdefault((visit.camera, sequence), [])
        free = [box for box, end in enumerate(ends) if end < frames[0]]
        box = free[0] if free else len(ends)
        if not free:
            ends.append(0)
        ends[box] = int(frames[-1])
        folder = TRAIN if train else GALLERY
        tracklets.append(
            Tracklet(
                key=first_key + len(tracklets),
                pid=visit.pid,
                person=visit.person,
                camera=visit.camera,
                sequence=first_sequence + sequence,
                frames=tuple(int(frame) for frame in frames),
                box=box + 1,
                folders=tuple(
                    QUERY if i == visit.query and not train else folder
                    for i in range(visit.length)
                ),
            )
        )
    return tracklets


def tracks_table(tracklets: list[Tracklet], seed: int) -> str:
    """CSV of each image's path and track, as a tracker of each camera would number.

    The numbers 1, 2, ... of a camera are dealt at random and tell nothing of identity.
    """
    numbers: dict[int, list[int]] = {}
    for camera in sorted({tracklet.camera for tracklet in tracklets}):
        count = sum(tracklet.camera == camera for tracklet in tracklets)
        dealt = generator(seed, TRACK, camera).permutation(count) + 1
        numbers[camera] = dealt.tolist()
    rows = ['path,track']
    for tracklet in tracklets:
        track = numbers[tracklet.camera].pop()
        rows += [f'{folder}/{name},{track}' for folder, name in tracklet.names()]
    return '\n'.join([rows[0], *sorted(rows[1:])]) + '\n'


def plan_tracklets(layout: Layout, seed: int) -> list[Tracklet]:
    """All tracklets of a data set: training, then test."""
    rng = generator(seed, PLAN)
    count = layout.num_train_ids + layout.num_test_ids
    pids = rng.permutation(count) + 1
    train = [(int(pid), int(pid)) for pid in sorted(pids[: layout.num_train_ids])]
    test = [(int(pid), int(pid)) for pid in sorted(pids[layout.num_train_ids :])]
    test_visits = _visits(rng, layout, test)
    # Distractors are strangers; junk are bad boxes around anybody.
    strangers = [
        (0, count + 1 + i) for i in range(round(layout.distractors * len(test_visits)))
    ]
    junk = [
        (-1, test[rng.integers(len(test))][1])
        for _ in range(round(layout.junk * len(test_visits)))
    ]
    test_visits += _visits(rng, layout, strangers + junk)
    tracklets = _split_tracklets(rng, layout, _visits(rng, layout, train), True, 0)
    return tracklets + _split_tracklets(rng, layout, test_visits, False, len(tracklets))
