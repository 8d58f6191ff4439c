# SPDX-License-Identifier: Apache-2.0
"""Galleries in other programs: the vector database Qdrant, and Parquet files."""

from __future__ import annotations

import json
import uuid
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from mmreid_gcl.datasets.image_folder import as_path
from mmreid_gcl.evaluation.calibration import Calibration
from mmreid_gcl.files import write_atomically

from .gallery_files import require_inside
from .gallery_index import GalleryIndex, Match, as_list
from .gallery_search import queries_of

_BATCH = 1000
_META = b'mmreid_gcl'


class QdrantGallery:
    """A gallery in a collection of Qdrant, which needs ``qdrant-client``.

    Args:
        location (str | Path | QdrantClient): ``'http://…'`` of a server; a folder for
            Qdrant inside this program; ``':memory:'``, the default, for one that is
            gone with it; or a client.
        collection (str): Its name. Defaults to 'gallery'.
        model_hash (str, optional): Of the model that embeds the queries. None: not
            checked.

    Raises:
        ImportError: If ``qdrant-client`` is missing.
        ConnectionError: If the database does not answer; so do all methods.
    """

    def __init__(
        self,
        location: Any = ':memory:',
        collection: str = 'gallery',
        model_hash: str | None = None,
    ) -> None:
        self._models = _import('qdrant_client').models
        self.collection = collection
        self.model_hash = model_hash
        self._where = f'Qdrant at {location}, collection {collection!r}'
        with self._asked():
            self._client = _client(location)
            self._client.get_collections()

    def export(self, gallery: GalleryIndex) -> None:
        """Put a gallery in place of what the collection holds.

        A new collection is filled and then takes over the name, as its alias: others
        find the old gallery or the new one. Points have the gallery's ids and as
        payload path, camera, track, time and model_hash. A ``ValueError`` if the name
        is that of a collection somebody else made.
        """
        models, client = self._models, self._client
        name = f'{self.collection}-{uuid.uuid4().hex[:12]}'
        with self._asked():
            old = self._target()
            if old is None and client.collection_exists(self.collection):
                raise ValueError(
                    f'{self._where}: this collection is not of export(), so it is not '
                    'replaced. Give another name.'
                )
            try:
                client.create_collection(
                    name,
                    vectors_config=models.VectorParams(
                        size=gallery.dim, distance=models.Distance.DOT
                    ),
                )
                self._fill(name, gallery)
                switch = [
                    models.CreateAliasOperation(
                        create_alias=models.CreateAlias(
                            collection_name=name, alias_name=self.collection
                        )
                    )
                ]
                if old is not None:
                    gone = models.DeleteAlias(alias_name=self.collection)
                    switch.insert(0, models.DeleteAliasOperation(delete_alias=gone))
                client.update_collection_aliases(switch)
            except BaseException:
                with suppress(Exception):  # the error that led here says more
                    client.delete_collection(name)
                raise
            if old is not None:
                client.delete_collection(old)

    def _fill(self, name: str, gallery: GalleryIndex) -> None:
        features = gallery.features
        for start in range(0, len(gallery), _BATCH):
            rows = range(start, min(start + _BATCH, len(gallery)))
            points = [
                self._models.PointStruct(
                    id=int(gallery.ids[row]),
                    vector=features[row].tolist(),
                    payload=dict(
                        path=gallery.path_of(row),
                        camera=gallery.cameras[row],
                        track=int(gallery.tracks[row]),
                        time=float(gallery.times[row]),
                        model_hash=gallery.model_hash,
                    ),
                )
                for row in rows
            ]
            self._client.upsert(name, points, wait=True)

    def _target(self) -> str | None:
        """The collection that has our name as an alias."""
        for alias in self._client.get_aliases().aliases:
            if alias.alias_name == self.collection:
                return alias.collection_name
        return None

    def __len__(self) -> int:
        with self._asked():
            return self._client.count(self.collection, exact=True).count

    def remove(self, ids: Collection[int] | int) -> None:
        """Remove images by their ids; those that are not there are no error."""
        chosen = [int(number) for number in as_list(ids)]
        with self._asked():
            self._client.delete(self.collection, chosen, wait=True)

    def search(
        self,
        features: np.ndarray,
        topk: int = 10,
        cameras: Collection[str] | str | None = None,
        exclude_cameras: Collection[str] | str | None = None,
    ) -> list[list[Match]]:
        """The most similar images, as :meth:`GalleryIndex.search`, exactly.

        Matches have no row (``index`` is -1), and cameras that are not there are no
        error. A ``ValueError`` if vectors are of another width or model.
        """
        models = self._models
        with self._asked():
            info = self._client.get_collection(self.collection)
            vectors = info.config.params.vectors
            queries = queries_of(features, getattr(vectors, 'size', -1), topk)
            wanted, unwanted = (
                None
                if names is None
                else [
                    models.FieldCondition(
                        key='camera', match=models.MatchAny(any=as_list(names))
                    )
                ]
                for names in (cameras, exclude_cameras)
            )
            requests = [
                models.QueryRequest(
                    query=query.tolist(),
                    limit=topk,
                    filter=models.Filter(must=wanted, must_not=unwanted),
                    params=models.SearchParams(exact=True),
                    with_payload=True,
                )
                for query in queries
            ]
            found = self._client.query_batch_points(self.collection, requests)
        return [self._matches(response.points) for response in found]

    def _matches(self, points: list) -> list[Match]:
        matches = []
        points = sorted(points, key=lambda point: (-point.score, point.id))
        for rank, point in enumerate(points, 1):
            known = point.payload or {}
            made_by = known.get('model_hash')
            if made_by is None or not {'path', 'camera'} <= set(known):
                raise ValueError(
                    f'{self._where}: point {point.id} is not of export(). Export the '
                    'gallery into a collection of its own.'
                )
            if self.model_hash is not None and made_by != self.model_hash:
                raise ValueError(
                    f'{self._where}: it holds vectors of another model ({made_by[:8]}; '
                    f'the queries come from {self.model_hash[:8]}), which cannot be '
                    'compared. Export the gallery of this model.'
                )
            matches.append(
                Match(
                    rank,
                    float(point.score),
                    known['path'],
                    known['camera'],
                    -1,
                    int(point.id),
                    int(known.get('track', -1)),
                )
            )
        return matches

    @contextmanager
    def _asked(self) -> Iterator[None]:
        """Say in one line that the database is away, or has no such collection."""
        from qdrant_client.http.exceptions import ApiException, UnexpectedResponse

        try:
            yield
        except UnexpectedResponse as error:
            raise ValueError(
                f'{self._where}: refused ({error.status_code} {error.reason_phrase}). '
                'Export a gallery first, and see the log of the server.'
            ) from error
        except (ApiException, OSError, RuntimeError) as error:
            raise ConnectionError(
                f'{self._where}: it does not answer ({str(error)[:200]}). Is it '
                'running, and does nobody else have its folder open?'
            ) from error
        except ValueError as error:
            if 'not found' not in str(error):
                raise
            raise ValueError(
                f'{self._where}: there is no such collection. Export a gallery first.'
            ) from error


def write_parquet(gallery: GalleryIndex, path: str | Path) -> Path:
    """Write a gallery as a Parquet file, which needs ``pyarrow``.

    Columns: id, path, camera, track (-1: not known), time (seconds since 1970) and
    vector, a list of C float32. The metadata of the schema hold root, model_hash and
    calibration as JSON. The file is the old one or the new one.
    """
    arrow = _import('pyarrow')
    path = as_path(path)
    vectors = arrow.FixedSizeListArray.from_arrays(
        arrow.array(gallery.features.ravel()), gallery.dim
    )
    columns = dict(
        id=arrow.array(gallery.ids),
        path=arrow.array(gallery.paths, arrow.string()),
        camera=arrow.array(gallery.cameras, arrow.string()),
        track=arrow.array(gallery.tracks),
        time=arrow.array(gallery.times),
        vector=vectors,
    )
    known = gallery.calibration
    meta = dict(
        root=str(gallery.root),
        model_hash=gallery.model_hash,
        calibration=known and known.to_dict(),
    )
    table = arrow.table(columns).replace_schema_metadata({_META: json.dumps(meta)})
    sink = arrow.BufferOutputStream()
    _import('pyarrow.parquet').write_table(table, sink)
    write_atomically(path, memoryview(sink.getvalue()))
    return path


def read_parquet(
    path: str | Path, model_hash: str | None = None, root: str | Path | None = None
) -> GalleryIndex:
    """Read a gallery that :func:`write_parquet` wrote.

    ``model_hash`` and ``root`` are as for :meth:`GalleryIndex.load`. A ``ValueError``
    if the file is damaged, not of this kind, or of another model.
    """
    arrow = _import('pyarrow')
    path = as_path(path)
    try:
        table = _import('pyarrow.parquet').read_table(path)
        meta = json.loads((table.schema.metadata or {})[_META])
        columns = {name: table.column(name).combine_chunks() for name in _COLUMNS}
        vectors = columns['vector']
        width = vectors.type.list_size
        features = vectors.flatten().to_numpy(zero_copy_only=False)
        gallery = GalleryIndex(
            features.reshape(len(table), width),
            columns['path'].to_pylist(),
            columns['camera'].to_pylist(),
            meta['root'] if root is None else root,
            meta['model_hash'],
            None,
            columns['track'].to_numpy(zero_copy_only=False),
            columns['time'].to_numpy(zero_copy_only=False),
            columns['id'].to_numpy(zero_copy_only=False),
        )
        if meta['calibration'] is not None:
            known = Calibration.from_dict(meta['calibration'], str(path))
            gallery.calibration = known
    except (KeyError, TypeError, AttributeError, ValueError, arrow.ArrowException) as e:
        raise ValueError(
            f'{path}: expected a Parquet file of write_parquet() ({e}).'
        ) from e
    require_inside(path, gallery.paths)
    if model_hash is not None:
        gallery.require_model(model_hash, f'{path}: this')
    return gallery


_COLUMNS = ('id', 'path', 'camera', 'track', 'time', 'vector')


def _client(location: Any):
    qdrant = _import('qdrant_client')
    if isinstance(location, qdrant.QdrantClient):
        return location
    text = str(location)
    if text == ':memory:':
        return qdrant.QdrantClient(':memory:')
    if text.startswith(('http://', 'https://')):
        return qdrant.QdrantClient(url=text, check_compatibility=False)
    return qdrant.QdrantClient(path=str(as_path(location)))


def _import(name: str):
    package = dict(qdrant_client='qdrant-client').get(name, name.partition('.')[0])
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if (error.name or '').partition('.')[0] != name.partition('.')[0]:
            raise
        raise ImportError(
            f'This needs {package}, which is not installed: pip install {package}'
        ) from error
