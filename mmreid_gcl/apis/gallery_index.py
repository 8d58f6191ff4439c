# SPDX-License-Identifier: Apache-2.0
"""Embeddings of a gallery on disk, and the search in them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePath

import faiss
import numpy as np

from mmreid_gcl.datasets.image_folder import as_path
from mmreid_gcl.files import write_atomically

_FORMAT = 'mmreid_gcl gallery'
_VERSION = 1
_META = 'gallery.json'
_INDEX = 'index.faiss'


@dataclass(frozen=True)
class Match:
    """One gallery image that a query found."""

    rank: int  #: 1 is the best
    score: float  #: Cosine similarity, -1 to 1
    path: str  #: The image
    camera: str  #: Name of its camera
    index: int  #: Its row in the gallery


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
    Nothing in it is executed when it is read.

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

    Raises:
        ValueError: If lengths differ, there is no image, or a feature is not
            finite.
    """

    def __init__(
        self,
        features: np.ndarray,
        paths: Sequence[str],
        cameras: Sequence[str],
        root: str | Path = '.',
        model_hash: str = '',
        failed: dict[str, str] | None = None,
    ) -> None:
        features = np.ascontiguousarray(features, dtype=np.float32)
        if features.ndim != 2 or not len(features):
            raise ValueError(
                'GalleryIndex: expected features (N, C) of at least one image, got '
                f'the shape {features.shape}.'
            )
        if not np.isfinite(features).all():
            raise ValueError('GalleryIndex: features must be finite numbers.')
        if not len(paths) == len(cameras) == len(features):
            raise ValueError(
                f'GalleryIndex: {len(features)} features, {len(paths)} paths and '
                f'{len(cameras)} cameras; expected as many of each.'
            )
        index = faiss.IndexFlatIP(features.shape[1])
        index.add(features)
        self._index = index
        self.paths = list(paths)
        self.cameras = list(cameras)
        self.root = as_path(root)
        self.model_hash = model_hash
        self.failed = dict(failed or {})
        self._camera_of_row = np.array(self.cameras)

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def dim(self) -> int:
        """C, the width of the features."""
        return self._index.d

    @property
    def features(self) -> np.ndarray:
        """(N, C) float32, a copy."""
        return self._index.reconstruct_n(0, len(self))

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

        Returns:
            list[list[Match]]: For each query at most ``topk``, best first; of
            equally similar ones the earlier row first.

        Raises:
            ValueError: If widths or lengths differ, a query is not finite, ``topk``
                is less than 1, a camera is unknown, or no image is left to search.
        """
        queries = np.atleast_2d(np.ascontiguousarray(features, dtype=np.float32))
        if queries.shape[1] != self.dim:
            raise ValueError(
                f'The query has {queries.shape[1]} values, the gallery {self.dim}: '
                'they come from different models.'
            )
        bad = ~np.isfinite(queries).all(axis=1)
        if bad.any():
            raise ValueError(
                f'Query {int(bad.argmax())} holds NaN or Inf: the model that made it '
                'is damaged or overflowed.'
            )
        if topk < 1:
            raise ValueError(f'topk must be at least 1, got {topk}.')
        if query_cameras is not None:
            return self._in_other_cameras(
                queries, topk, cameras, exclude_cameras, query_cameras, best_per_camera
            )
        rows = self._rows(cameras, exclude_cameras)
        if best_per_camera:
            return self._best_per_camera(queries, topk, rows)
        params = None
        count = len(self)
        if rows is not None:
            params = faiss.SearchParameters(sel=faiss.IDSelectorBatch(rows))
            count = len(rows)
        scores, found = self._index.search(queries, min(topk, count), params=params)
        return [self._matches(*pair) for pair in zip(scores, found)]

    def _in_other_cameras(
        self, queries, topk, cameras, exclude_cameras, own, best_per_camera
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
                queries[mine],
                topk,
                cameras,
                left_out or None,
                best_per_camera=best_per_camera,
            )
            for i, matches in zip(mine, part):
                found[i] = matches
        return found

    def _best_per_camera(self, queries, topk, rows) -> list[list[Match]]:
        present = self._camera_of_row if rows is None else self._camera_of_row[rows]
        each = [self.search(queries, 1, camera) for camera in np.unique(present)]
        found = []
        for matches in zip(*each):
            order = sorted((m for (m,) in matches), key=lambda m: (-m.score, m.index))
            ranked = enumerate(order[:topk], 1)
            found.append([replace(match, rank=rank) for rank, match in ranked])
        return found

    def _matches(self, scores: np.ndarray, rows: np.ndarray) -> list[Match]:
        order = np.lexsort((rows, -scores))
        best, found = scores[order], rows[order]
        return [
            Match(rank, score, self.path_of(row), self.cameras[row], row)
            for rank, (score, row) in enumerate(zip(best.tolist(), found.tolist()), 1)
        ]

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

    def save(self, out: str | Path) -> Path:
        """Write the index; returns the folder.

        ``out`` is made if need be, and an index in it replaced. A
        ``NotADirectoryError`` if it is a file, a ``ValueError`` if a path leaves
        ``root``.
        """
        out = as_path(out)
        if out.exists() and not out.is_dir():
            raise NotADirectoryError(
                f'{out}: this is a file; a gallery index is a folder.'
            )
        _require_inside(out, self.paths)
        out.mkdir(parents=True, exist_ok=True)
        data = faiss.serialize_index(self._index).tobytes()
        meta = dict(
            format=_FORMAT,
            version=_VERSION,
            model_hash=self.model_hash,
            images=len(self),
            dim=self.dim,
            index_sha256=hashlib.sha256(data).hexdigest(),
            root=str(self.root),
            paths=self.paths,
            cameras=self.cameras,
            failed=self.failed,
        )
        # Names that are no UTF-8 are escaped by JSON and come back the same.
        text = json.dumps(meta, indent=0).encode()
        for name, content in ((_INDEX, data), (_META, text)):
            write_atomically(out / name, content)
        return out

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
        meta = _read_meta(path)
        data = _read_file(path, _INDEX)
        if hashlib.sha256(data).hexdigest() != meta['index_sha256']:
            raise ValueError(
                f'{path / _INDEX}: this file is cut off, changed, or not of the '
                f'{_META} beside it ({len(data):,} bytes). Build the gallery again.'
            )
        gallery = cls(
            _flat_features(path / _INDEX, data, meta['images'], meta['dim']),
            meta['paths'],
            meta['cameras'],
            meta['root'] if root is None else root,
            meta['model_hash'],
            meta['failed'],
        )
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


def _flat_features(path: Path, data: bytes, images: int, dim: int) -> np.ndarray:
    """The (N, C) features in an index of faiss, taken out without its reader.

    That reader also takes kinds of index that name other files, and crashes on
    crafted ones.
    """
    width = min(max(dim, 1), 2**31 - 1)
    empty = faiss.serialize_index(faiss.IndexFlatIP(width)).tobytes()
    size = 4 * images * dim
    # the first 8 bytes are kind and width
    if len(data) != len(empty) + size or data[:8] != empty[:8]:
        raise ValueError(
            f'{path}: expected a flat index of {images} embeddings of width {dim}, '
            'this is another one. Build the gallery again.'
        )
    return np.frombuffer(data, '<f4', offset=len(empty)).reshape(images, dim)


def _require_inside(index: Path, paths: Sequence[str]) -> None:
    """Raise if an index would open files outside of its root."""
    for path in paths:
        if PurePath(path).anchor or '..' in PurePath(path).parts:
            raise ValueError(
                f'{index}: the gallery lists {path!r}, which leaves the folder of its '
                "images. Expected paths below its root, without '..'. Build it again."
            )


def is_gallery(path: str | Path) -> bool:
    """Whether a folder holds a saved index."""
    return (as_path(path) / _META).is_file()


def _read_file(folder: Path, name: str) -> bytes:
    try:
        return (folder / name).read_bytes()
    except OSError as error:
        raise FileNotFoundError(
            f'{folder}: expected a gallery index, a folder with {_META} and {_INDEX}; '
            f'{name} cannot be read ({error.strerror}). Build one with build_gallery().'
        ) from error


def _read_meta(folder: Path) -> dict:
    data = _read_file(folder, _META)
    path = folder / _META
    try:
        meta = json.loads(data)
    except ValueError as error:
        raise ValueError(
            f'{path}: this file is cut off or no JSON ({error}). Build the gallery '
            'again.'
        ) from error
    if not isinstance(meta, dict) or meta.get('format') != _FORMAT:
        raise ValueError(f'{path}: this is not the description of a gallery index.')
    if meta.get('version') != _VERSION:
        raise ValueError(
            f'{path}: a gallery index of version {meta.get("version")}; this program '
            f'reads version {_VERSION}. Build the gallery again.'
        )
    expected: dict[str, type] = dict.fromkeys(
        ('model_hash', 'index_sha256', 'root'), str
    )
    expected.update(images=int, dim=int, paths=list, cameras=list, failed=dict)
    for key, kind in expected.items():
        if not isinstance(meta.get(key), kind):
            raise ValueError(
                f'{path}: {key!r} is missing or no {kind.__name__}. Build the gallery '
                'again.'
            )
    if not all(isinstance(name, str) for name in meta['paths'] + meta['cameras']):
        raise ValueError(f'{path}: expected texts as paths and cameras.')
    _require_inside(path, meta['paths'])
    return meta
