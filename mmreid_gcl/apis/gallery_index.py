# SPDX-License-Identifier: Apache-2.0
"""Embeddings of a gallery on disk, and the search in them."""

from __future__ import annotations

import itertools
import math
import os
import time
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from mmreid_gcl.datasets.image_folder import as_path
from mmreid_gcl.evaluation.calibration import SEARCH, Calibration
from mmreid_gcl.evaluation.tracks import track_means

from . import gallery_files
from .folder import FolderImages, read_clusters
from .gallery_files import NO_TRACK, is_gallery, require_inside, sole_writer
from .gallery_search import Vectors, queries_of

__all__ = [
    'NOBODY',
    'GalleryIndex',
    'Match',
    'is_gallery',
    'read_clusters',
    'require_cameras',
]

#: What is said of a query without a match
NOBODY = 'not in the gallery'


@dataclass(frozen=True)
class Match:
    """One gallery image that a query found."""

    rank: int  #: 1 is the best
    score: float  #: Cosine similarity, -1 to 1
    path: str  #: The image
    camera: str  #: Name of its camera
    index: int  #: Its row in the gallery
    id: int = -1  #: Its number, which it keeps when others are removed
    track: int = NO_TRACK  #: Its track on that camera, -1 is not known
    #: That it is the query's person, before which nothing was known (odds of 1 to 1);
    #: None without a calibration
    probability: float | None = None


def require_cameras(asked: Iterable[str], cameras: Iterable[str]) -> None:
    """Raise a ValueError that names a gallery's cameras unless it has those asked."""
    present = sorted(set(cameras))
    unknown = [camera for camera in asked if camera not in present]
    if unknown:
        shown = ', '.join(present[:20]) + (', …' if len(present) > 20 else '')
        raise ValueError(
            f'The gallery has no camera {unknown[0]!r}. Its cameras: {shown}.'
        )


class GalleryIndex:
    """A searchable gallery: a faiss index and what is known of the images.

    On disk it is a folder with ``index.faiss`` (exact inner products) and
    ``gallery.json`` (paths, cameras, hash of the model, checksum of the index).
    Nothing in it is executed when it is read. A reader finds the old gallery or the new
    one while it is written; :meth:`edit` changes it there.

    Args:
        features (np.ndarray): (N, C) float32, unit length.
        paths (Sequence[str]): N paths, relative to ``root`` or absolute. An index
            with a path that leaves ``root`` is neither saved nor loaded.
        cameras (Sequence[str]): N names of cameras.
        root (str | Path): Folder of the images.
        model_hash (str): Of the model that made the features, see
            :func:`~mmreid_gcl.apis.loading.model_fingerprint`.
        failed (dict[str, str], optional): Images that could not be read, and
            why.
        tracks (Sequence[int], optional): N numbers of tracks, unique on a camera; -1:
            not known, which is the default.
        times (Sequence[float], optional): N times at which the images were taken,
            seconds since 1970. Defaults to now.
        ids (Sequence[int], optional): N different numbers, not negative. Defaults to
            0, 1, …

    Raises:
        ValueError: If lengths differ, features have no width, or a number is not
            finite or out of its range.
    """

    def __init__(
        self,
        features: np.ndarray,
        paths: Sequence[str],
        cameras: Sequence[str],
        root: str | Path = '.',
        model_hash: str = '',
        failed: dict[str, str] | None = None,
        tracks: Sequence[int] | np.ndarray | None = None,
        times: Sequence[float] | np.ndarray | None = None,
        ids: Sequence[int] | np.ndarray | None = None,
    ) -> None:
        self._vectors = Vectors(features)
        count = len(self._vectors)
        self.paths = list(paths)
        self.cameras = list(cameras)
        if not len(self.paths) == len(self.cameras) == count:
            raise ValueError(
                f'GalleryIndex: {count} features, {len(self.paths)} paths and '
                f'{len(self.cameras)} cameras; expected as many of each.'
            )
        self.root = as_path(root)
        self.model_hash = model_hash
        self.failed = dict(failed or {})
        self.tracks = _column('tracks', tracks, count, np.int64, NO_TRACK)
        self.times = _column('times', times, count, np.float64, time.time())
        self.ids = _column('ids', ids, count, np.int64, np.arange(count))
        if len(np.unique(self.ids)) < count or (self.ids < 0).any():
            raise ValueError('GalleryIndex: ids must be different, and 0 or more.')
        self._next_id = int(self.ids.max(initial=-1)) + 1
        self._camera_of_row = np.array(self.cameras, dtype=str)
        self._calibration: Calibration | None = None

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def dim(self) -> int:
        """C, the width of the features."""
        return self._vectors.dim

    @property
    def features(self) -> np.ndarray:
        """(N, C) float32, a copy."""
        return self._vectors.features

    @property
    def calibration(self) -> Calibration | None:
        """What similarities mean; one of another model is a ``ValueError``."""
        return self._calibration

    @calibration.setter
    def calibration(self, value: Calibration | None) -> None:
        if value is not None and value.model_hash != self.model_hash:
            raise ValueError(
                'The calibration is of another model than the gallery '
                f'({value.model_hash[:8] or "unknown"} and '
                f'{self.model_hash[:8] or "unknown"}): a threshold holds for its own '
                'model alone. Calibrate again.'
            )
        self._calibration = value

    def threshold_or(self, given: float | None = None) -> float:
        """The similarity from which on a match counts.

        ``given``, else that of the calibration, else -inf: all count, as with -1. NaN
        is a ``ValueError``.
        """
        if given is None:
            known = self.calibration
            return -math.inf if known is None else known.threshold
        if math.isnan(given):
            raise ValueError('The threshold must be a number, got nan.')
        return given

    def above_threshold(
        self, found: Iterable[Sequence[Match]], threshold: float | None = None
    ) -> list[list[Match]]:
        """The matches of :meth:`search` that reach :meth:`threshold_or`.

        A query that has none is not in the gallery.
        """
        least = self.threshold_or(threshold)
        return [[m for m in matches if m.score >= least] for matches in found]

    @property
    def calibration_warning(self) -> str:
        """A warning if the gallery is too large for its calibration, else ''."""
        known = self.calibration
        if known is None or known.over != SEARCH or len(self) <= 2 * known.images:
            return ''
        return (
            f'The threshold was made for searches among {known.images:,} images; of '
            f'{len(self):,}, more than {100 * known.rate:g} % of the people who are '
            'not there will be found. Calibrate again, on as many images.'
        )

    def path_of(self, row: int) -> str:
        """The file of one image: ``root`` and its path together."""
        return str(self.root / self.paths[row])

    def search(
        self,
        features: np.ndarray,
        topk: int = 10,
        cameras: Collection[str] | str | None = None,
        exclude_cameras: Collection[str] | str | None = None,
        query_cameras: Sequence[str] | str | None = None,
        best_per_camera: bool = False,
        by_track: bool = False,
        exact: bool = True,
    ) -> list[list[Match]]:
        """The most similar images of the gallery, for each query.

        Args:
            features (np.ndarray): (Q, C) or (C,), unit length.
            topk (int): How many. Defaults to 10.
            cameras (Collection[str] | str, optional): Search these only.
            exclude_cameras (Collection[str] | str, optional): And not these, for
                example the query's own.
            query_cameras (Sequence[str] | str, optional): Q names: no query is
                searched in its own camera.
            best_per_camera (bool): Of each camera the best alone. Defaults to False.
            by_track (bool): Name the best image of each track alone. Defaults to
                False.
            exact (bool): False: a query of a large gallery takes a sixth of the time,
                and may miss some of the best; what is named has its exact score. The
                first such search takes long. Defaults to True.

        Returns:
            list[list[Match]]: For each query at most ``topk``, best first; of
            equally similar ones the earlier row first.

        Raises:
            ValueError: If widths or lengths differ, a query is not finite, ``topk``
                is less than 1, a camera is unknown, or no image is left to search.
        """
        queries = queries_of(features, self.dim, topk)
        if query_cameras is not None:
            options = dict(
                best_per_camera=best_per_camera, by_track=by_track, exact=exact
            )
            return self._in_other_cameras(
                queries, topk, cameras, exclude_cameras, query_cameras, options
            )
        rows = self._rows(cameras, exclude_cameras)
        if not len(self):
            return [[] for _ in queries]
        groups = self._track_of_row() if by_track else None
        if best_per_camera:  # a track is in one camera
            groups = self._camera_codes()
        ranked = self._vectors.best(queries, topk, rows, groups, exact)
        return [self._matches(*pair) for pair in ranked]

    def _in_other_cameras(
        self, queries, topk, cameras, exclude_cameras, own, options: dict
    ) -> list[list[Match]]:
        own = [own] if isinstance(own, str) else [str(camera) for camera in own]
        if len(own) != len(queries):
            raise ValueError(
                f'query_cameras has {len(own)} names for {len(queries)} queries; give '
                'one for each.'
            )
        excluded = [exclude_cameras] if isinstance(exclude_cameras, str) else []
        excluded = excluded or list(exclude_cameras or [])
        names = np.array(own)
        found: list[list[Match]] = [[] for _ in own]
        for camera in dict.fromkeys(own):
            mine = np.flatnonzero(names == camera)
            left_out = [*excluded, *{camera}.intersection(self.cameras)]
            part = self.search(
                queries[mine], topk, cameras, left_out or None, **options
            )
            for i, matches in zip(mine, part):
                found[i] = matches
        return found

    def _matches(self, scores: np.ndarray, rows: np.ndarray) -> list[Match]:
        known = self.calibration
        probable = [None] * len(rows)
        if known is not None:
            probable = known.probability(scores).tolist()
        return [
            Match(
                rank,
                score,
                self.path_of(row),
                self.cameras[row],
                row,
                int(self.ids[row]),
                int(self.tracks[row]),
                probability,
            )
            for rank, (score, row, probability) in enumerate(
                zip(scores.tolist(), rows.tolist(), probable), 1
            )
        ]

    def _track_of_row(self) -> np.ndarray:
        """(N,) codes of tracks; an image without one is a track of its own."""
        alone = self.tracks == NO_TRACK
        keys = np.stack([self._camera_codes(), self.tracks, alone * self.ids], axis=1)
        return np.unique(keys, axis=0, return_inverse=True)[1].ravel()

    def _camera_codes(self) -> np.ndarray:
        return np.unique(self._camera_of_row, return_inverse=True)[1]

    def _rows(self, cameras, exclude_cameras) -> np.ndarray | None:
        """Rows to search, None for all."""
        if cameras is None and exclude_cameras is None:
            return None
        keep = np.ones(len(self), dtype=bool)
        if cameras is not None:
            keep &= np.isin(self._camera_of_row, self._known(cameras))
        if exclude_cameras is not None:
            keep &= ~np.isin(self._camera_of_row, self._known(exclude_cameras))
        if not keep.any():
            raise ValueError(
                'No image is left to search after the cameras were filtered '
                f'(cameras={cameras!r}, exclude_cameras={exclude_cameras!r}).'
            )
        return np.flatnonzero(keep)

    def _known(self, cameras: Collection[str] | str) -> list[str]:
        asked = [cameras] if isinstance(cameras, str) else list(cameras)
        asked = [str(camera) for camera in asked]
        require_cameras(asked, self.cameras)
        return asked

    def add(
        self,
        features: np.ndarray,
        paths: Sequence[str],
        cameras: Sequence[str],
        tracks: Sequence[int] | np.ndarray | None = None,
        times: Sequence[float] | np.ndarray | None = None,
    ) -> np.ndarray:
        """Append images, embedded by the model of the gallery.

        Args:
            features (np.ndarray): (n, C) float32, unit length.
            paths (Sequence[str]): n paths that the gallery does not have yet.
            cameras (Sequence[str]): n names of cameras.
            tracks (Sequence[int], optional): n tracks; -1, the default: not known.
            times (Sequence[float], optional): n times, seconds since 1970. Defaults
                to now.

        Returns:
            np.ndarray: (n,) int64, their new ids.

        Raises:
            ValueError: As for the class, or if the width is another or a path is there
                already; nothing is added then.
        """
        ids = self._next_id + np.arange(len(paths))
        self._append(
            GalleryIndex(
                features, paths, cameras, self.root, '', None, tracks, times, ids
            )
        )
        return ids

    def absent(self, images: FolderImages) -> FolderImages:
        """Those images of a folder that the gallery does not have.

        Args:
            images (FolderImages): Of :func:`~mmreid_gcl.apis.folder.list_folder`.

        Returns:
            FolderImages: Ready to be embedded and merged. Their tracks have the numbers
            of the gallery where it has an image of the track, else their own if that
            is free on the camera, else new ones.
        """
        rows = {os.path.abspath(self.path_of(row)): row for row in range(len(self))}
        own = [rows.get(str(images.root / path)) for path in images.paths]
        for row, path, camera in zip(own, images.paths, images.cameras):
            if row is not None and self.cameras[row] != camera:
                raise ValueError(
                    f'{images.root / path}: its camera is {self.cameras[row]!r} in the '
                    f'gallery and {camera!r} in this folder. Give the folder that it '
                    'was built from, and the same options.'
                )
        given = images.columns['own_track'].tolist()
        numbers = {
            key: int(self.tracks[row])
            for key, row in zip(zip(images.cameras, given), own)
            if row is not None and self.tracks[row] != NO_TRACK
        }
        tracks = self._tracks_apart(images.cameras, given, numbers)
        new = replace(images, columns={**images.columns, 'own_track': tracks})
        return new.select([place for place, row in enumerate(own) if row is None])

    def _tracks_apart(
        self, cameras: Sequence[str], tracks: Sequence[int], numbers: dict
    ) -> np.ndarray:
        """(n,) numbers of others' tracks that the gallery's tracks do not have.

        ``numbers`` maps (camera, track) to what is settled already, and gets the rest.
        """
        keys = list(zip(cameras, tracks))
        taken = set(zip(self.cameras, self.tracks.tolist()))
        used = {track for _, track in taken.union(keys)}
        free = (number for number in itertools.count() if number not in used)
        for key in keys:
            if key not in numbers:
                lent = key in taken and key[1] != NO_TRACK
                numbers[key] = next(free) if lent else key[1]
        return np.array([numbers[key] for key in keys], np.int64)

    def _append(self, other: GalleryIndex) -> None:
        if other.dim != self.dim:
            raise ValueError(
                f'The new embeddings have {other.dim} values, those of the gallery '
                f'{self.dim}: they come from different models.'
            )
        twice = [path for path, n in Counter(other.paths).items() if n > 1]
        twice += sorted(set(self.paths) & set(other.paths))
        if twice:
            raise ValueError(
                f'The gallery would have {twice[0]!r} twice ({len(twice):,} such '
                'paths). Remove it first, or leave it out.'
            )
        self._vectors.add(other.features)
        self.paths += other.paths
        self.cameras += other.cameras
        for name in ('tracks', 'times', 'ids'):
            joined = np.concatenate([getattr(self, name), getattr(other, name)])
            setattr(self, name, joined)
        self._next_id = max(self._next_id, other._next_id)
        self._camera_of_row = np.array(self.cameras, dtype=str)

    def merge(self, other: GalleryIndex, same_tracks: bool = False) -> None:
        """Append another gallery of the same model.

        Its images get new ids, and its tracks other numbers where theirs are taken on
        the camera, unless they are the ``same_tracks``, as those of :meth:`absent`. If
        the roots differ, the new root is the folder that holds both. A ``ValueError``
        if models differ or a path would be there twice.
        """
        if other.model_hash != self.model_hash:
            raise ValueError(
                'The galleries were built with different models '
                f'({self.model_hash[:8] or "unknown"} and '
                f'{other.model_hash[:8] or "unknown"}): their embeddings cannot be '
                'compared. Build one of them again.'
            )
        root, paths, own = self.root, other.paths, self.paths
        if other.root != self.root:
            roots = [os.path.abspath(self.root), os.path.abspath(other.root)]
            root = Path(os.path.commonpath(roots))
            own, paths = (
                [_below(root, start, path) for path in gallery.paths]
                for start, gallery in zip(roots, (self, other))
            )
        ids = self._next_id + np.arange(len(other))
        tracks = other.tracks
        if not same_tracks:
            tracks = self._tracks_apart(other.cameras, tracks.tolist(), {})
        more = GalleryIndex(
            other.features,
            paths,
            other.cameras,
            tracks=tracks,
            times=other.times,
            ids=ids,
        )
        before, self.paths = self.paths, own
        try:
            self._append(more)
        except ValueError:
            self.paths = before
            raise
        self.root = root
        there = {self.path_of(row) for row in range(len(self))}
        failed = {**self.failed, **other.failed}
        self.failed = {k: v for k, v in failed.items() if k not in there}

    def remove(
        self,
        ids: Collection[int] | int | None = None,
        paths: Collection[str] | str | None = None,
        cameras: Collection[str] | str | None = None,
        tracks: Collection[int] | int | None = None,
        before: float | None = None,
        after: float | None = None,
    ) -> int:
        """Remove the images for which all that is given holds.

        Args:
            ids (Collection[int] | int, optional): Numbers of :attr:`ids`.
            paths (Collection[str] | str, optional): As in :attr:`paths`, or as
                :meth:`path_of` names them.
            cameras (Collection[str] | str, optional): Names of cameras.
            tracks (Collection[int] | int, optional): Give the camera as well: a
                track is unique on a camera only.
            before (float, optional): Taken before this time, seconds since 1970.
            after (float, optional): Taken at this time or later.

        Returns:
            int: How many were removed. None may be left.

        Raises:
            ValueError: If nothing is given, an id, path, camera or track is not in the
                gallery, or a track is in several cameras; nothing is removed then.
        """
        given = (ids, paths, cameras, tracks, before, after)
        if all(value is None for value in given):
            raise ValueError('remove: say which images, for example cameras="hall".')
        gone = np.ones(len(self), dtype=bool)
        if ids is not None:
            gone &= _chosen('id', self.ids, np.atleast_1d(as_list(ids)).tolist())
        if paths is not None:
            full = {self.path_of(row): path for row, path in enumerate(self.paths)}
            asked = [full.get(path, path) for path in map(str, as_list(paths))]
            gone &= _chosen('path', np.array(self.paths, dtype=str), asked)
        here = np.ones(len(self), dtype=bool)
        if cameras is not None:
            here = np.isin(self._camera_of_row, self._known(cameras))
            gone &= here
        if tracks is not None:
            gone &= _chosen('track', np.where(here, self.tracks, -2), as_list(tracks))
            where = {*zip(self._camera_of_row[gone].tolist(), self.tracks[gone])}
            if cameras is None and len(where) > len({track for _, track in where}):
                several = ', '.join(sorted({camera for camera, _ in where})[:5])
                raise ValueError(
                    f'Several cameras have a track of this number: {several}. '
                    'Name the camera as well. Nothing was removed.'
                )
        if before is not None:
            gone &= self.times < before
        if after is not None:
            gone &= self.times >= after
        self._keep(~gone)
        return int(gone.sum())

    def expire(self, max_age: float, now: float | None = None) -> int:
        """Remove what is older than ``max_age`` seconds; returns how many.

        ``now`` is in seconds since 1970, by default the clock's.
        """
        if not max_age >= 0:
            raise ValueError(f'max_age must be 0 or more seconds, got {max_age}.')
        return self.remove(before=(time.time() if now is None else now) - max_age)

    def _keep(self, keep: np.ndarray) -> None:
        gone = np.flatnonzero(~keep)
        if not len(gone):
            return
        self._vectors.remove(gone)
        rows = np.flatnonzero(keep).tolist()
        files = {self.path_of(row) for row in gone.tolist()}
        self.failed = {k: v for k, v in self.failed.items() if k not in files}
        self.paths = [self.paths[row] for row in rows]
        self.cameras = [self.cameras[row] for row in rows]
        for name in ('tracks', 'times', 'ids', '_camera_of_row'):
            setattr(self, name, getattr(self, name)[keep])

    def per_track(
        self, quality: Sequence[float] | np.ndarray | None = None
    ) -> GalleryIndex:
        """A gallery with one embedding a track: the weighted mean of its images.

        Images without a track stay as they are.

        Args:
            quality (Sequence[float], optional): N weights, positive, such as the
                detector's confidences or the heights of the crops. Defaults to equal
                ones.

        Returns:
            GalleryIndex: Rows in the order of the tracks' first images, means of unit
            length, not calibrated. Path and id are those of the image with the largest
            weight, of equal ones the first; the time is the earliest, by which it
            expires.

        Raises:
            ValueError: If a weight is not positive and finite, or the images of a track
                cancel each other out.
        """
        count = len(self)
        weights = _column('quality', quality, count, np.float64, 1.0)
        if not (weights > 0).all():
            raise ValueError('per_track: quality must be positive for every image.')
        try:
            means, codes = track_means(self.features, self._track_of_row(), weights)
        except ValueError as error:
            raise ValueError(
                f'per_track: images of a track cancel each other out. {error}'
            ) from error
        # heaviest first within a track; of equal ones the earlier row
        order = np.lexsort((-weights, codes))
        best = order[np.searchsorted(codes[order], np.arange(len(means)))]
        times = np.full(len(means), np.inf)
        np.minimum.at(times, codes, self.times)
        return GalleryIndex(
            means,
            [self.paths[row] for row in best],
            [self.cameras[row] for row in best],
            self.root,
            self.model_hash,
            self.failed,
            self.tracks[best],
            times,
            self.ids[best],
        )

    @classmethod
    @contextmanager
    def edit(
        cls,
        path: str | Path,
        model_hash: str | None = None,
        root: str | Path | None = None,
    ) -> Iterator[GalleryIndex]:
        """Change a saved gallery: ``with GalleryIndex.edit('gallery') as gallery:``.

        It is loaded as by :meth:`load`, and saved at the end of the block, unless that
        raises. Meanwhile others may read it, and nobody else may write it.

        Raises:
            BlockingIOError: If somebody else writes it.
        """
        with sole_writer(as_path(path)):
            gallery = cls.load(path, model_hash, root)
            yield gallery
            gallery.write(as_path(path))

    def save(self, out: str | Path) -> Path:
        """Write the index; returns the folder.

        ``out`` is made if need be, and an index in it replaced. To change one that
        others may write too, use :meth:`edit`. On a full disk what was there stays.

        Raises:
            NotADirectoryError: If it is a file.
            BlockingIOError: If somebody else writes it.
            OSError: If it cannot be written.
            ValueError: If a path leaves ``root``.
        """
        out = as_path(out)
        if out.exists() and not out.is_dir():
            raise NotADirectoryError(
                f'{out}: this is a file; a gallery index is a folder.'
            )
        require_inside(out, self.paths)
        out.mkdir(parents=True, exist_ok=True)
        with sole_writer(out):
            self.write(out)
        return out

    def write(self, out: Path) -> None:
        """As :meth:`save`, by who holds :func:`sole_writer` of this folder."""
        require_inside(out, self.paths)
        meta = dict(
            model_hash=self.model_hash,
            images=len(self),
            dim=self.dim,
            root=str(self.root),
            paths=self.paths,
            cameras=self.cameras,
            failed=self.failed,
            tracks=self.tracks.tolist(),
            times=self.times.tolist(),
            ids=self.ids.tolist(),
            next_id=self._next_id,
            calibration=self.calibration and self.calibration.to_dict(),
        )
        gallery_files.write(out, meta, self._vectors.serialised())

    @classmethod
    def load(
        cls,
        path: str | Path,
        model_hash: str | None = None,
        root: str | Path | None = None,
    ) -> GalleryIndex:
        """Read an index and check that it is whole and belongs to the model.

        Args:
            path (str | Path): The folder.
            model_hash (str, optional): Of the model that will embed queries.
                None: not checked.
            root (str | Path, optional): Where the images are now, if they were
                moved, or whose they are: give it for an index from somebody else,
                which otherwise names the folder itself.

        Returns:
            GalleryIndex: Ready to be searched.

        Raises:
            FileNotFoundError: If there is no index.
            ValueError: If it is damaged, of another version or another model, or a
                path in it leaves its folder: it is absolute or has '..'.
        """
        path = as_path(path)
        meta, features = gallery_files.read(path)
        gallery = cls(
            features,
            meta['paths'],
            meta['cameras'],
            meta['root'] if root is None else root,
            meta['model_hash'],
            meta['failed'],
            meta['tracks'],
            meta['times'],
            meta['ids'],
        )
        gallery._next_id = max(gallery._next_id, meta['next_id'])
        if meta.get('calibration') is not None:
            name = f'{path / gallery_files.META}: calibration'
            gallery.calibration = Calibration.from_dict(meta['calibration'], name)
        if model_hash is not None:
            gallery.require_model(model_hash, f'{path}: this')
        return gallery

    def require_model(self, model_hash: str, name: str = 'This') -> None:
        """Raise a ``ValueError`` unless this model built the gallery."""
        if model_hash != self.model_hash:
            raise ValueError(
                f'{name} gallery was built with another model or image size, or the '
                f'weights changed since: {self.model_hash[:8] or "unknown"}, the '
                f'queries come from {model_hash[:8]}. Their embeddings cannot be '
                'compared. Give the model that built it, or build it again.'
            )


def _column(name: str, values, count: int, dtype: type, default) -> np.ndarray:
    """(count,) finite numbers; ``default`` if None was given."""
    if values is None:
        return np.full(count, default, dtype)
    given = np.asarray(values)
    kinds = 'iu' if dtype is np.int64 else 'iuf'
    if given.shape != (count,) or (count and given.dtype.kind not in kinds):
        raise ValueError(
            f'GalleryIndex: {name} must be {count} '
            f'{"integers" if kinds == "iu" else "numbers"}, one an image; got '
            f'{given.dtype} of the shape {given.shape}.'
        )
    if not np.isfinite(given.astype(np.float64)).all():
        raise ValueError(f'GalleryIndex: {name} must be finite numbers.')
    return given.astype(dtype)


def as_list(values) -> list:
    """One value, or several."""
    if isinstance(values, (str, Path)) or not isinstance(values, Iterable):
        return [values]
    return list(values)


def _chosen(what: str, present: np.ndarray, asked: list) -> np.ndarray:
    """(N,) bool, which are asked for; a ValueError if one of these is not there."""
    missing = set(asked) - set(present.tolist())
    if missing:
        first = next(value for value in asked if value in missing)
        raise ValueError(
            f'The gallery has no {what} {first!r} ({len(missing):,} such). Nothing was '
            'removed.'
        )
    return np.isin(present, asked)


def _below(root: Path, start: str, path: str) -> str:
    """A path relative to ``start`` as one relative to ``root``."""
    return (Path(start) / path).relative_to(root).as_posix()
