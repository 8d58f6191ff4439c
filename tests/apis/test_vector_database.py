# SPDX-License-Identifier: Apache-2.0
import errno
import os
import sys

import numpy as np
import pytest

from mmreid_gcl.apis import GalleryIndex
from mmreid_gcl.apis.vector_database import QdrantGallery, read_parquet, write_parquet

from .test_gallery_index import make_calibration, make_tracked, rows_of, unit


@pytest.fixture
def qdrant(tmp_path):
    pytest.importorskip('qdrant_client')
    gallery = QdrantGallery(tmp_path / 'qdrant', model_hash='f00d')
    yield gallery
    gallery._client.close()


def agree(found, expected):
    """The same matches in order, but for their rows, which a database has not."""
    assert len(found) == len(expected)
    for left, right in zip(found, expected):
        for name in ('rank', 'path', 'camera', 'id', 'track'):
            values = [[getattr(m, name) for m in matches] for matches in (left, right)]
            assert values[0] == values[1], name
        scores = [[m.score for m in matches] for matches in (left, right)]
        assert np.allclose(*scores, rtol=0, atol=1e-5)


def test_qdrant_finds_what_our_own_search_finds(qdrant):
    index = make_tracked(40)
    qdrant.export(index)
    assert len(qdrant) == 40
    queries = unit(np.random.default_rng(7), 3)
    for options in (
        dict(),
        dict(topk=3),
        dict(topk=100),
        dict(cameras='a'),
        dict(exclude_cameras=['a']),
        dict(cameras=['a', 'b'], exclude_cameras='b'),
    ):
        expected = index.search(queries, **options)
        agree(qdrant.search(queries, **options), expected)
    agree(qdrant.search(queries[0]), index.search(queries[0]))


def test_a_later_export_takes_the_place_of_the_earlier(qdrant, monkeypatch):
    index = make_tracked(12)
    qdrant.export(index)
    gone = index.ids[:5].tolist()
    qdrant.remove(gone[0])
    assert len(qdrant) == 11
    index.remove(ids=gone)
    qdrant.export(index)
    assert len(qdrant) == 7
    query = unit(np.random.default_rng(7), 1)
    agree(qdrant.search(query, 20), index.search(query, 20))
    names = [c.name for c in qdrant._client.get_collections().collections]
    assert len(names) == 1

    def away(*_, **__):
        raise OSError('gone')

    monkeypatch.setattr(qdrant._client, 'upsert', away)
    with pytest.raises(ConnectionError, match=r"'gallery': it does not answer \(gone"):
        qdrant.export(make_tracked(30, seed=1))
    # nothing half-written, and the earlier one is still there
    agree(qdrant.search(query, 20), index.search(query, 20))
    assert [c.name for c in qdrant._client.get_collections().collections] == names


def test_qdrant_of_another_model_or_somebody_else(qdrant):
    index = make_tracked(5)
    query = index.features[0]
    with pytest.raises(ValueError, match='no such collection'):
        qdrant.search(query)
    index.model_hash = 'beefbeefbeef'
    qdrant.export(index)
    with pytest.raises(ValueError, match=r'another model \(beefbeef; .* from f00d\)'):
        qdrant.search(query)
    with pytest.raises(ValueError, match='7 values, the gallery 8'):
        qdrant.search(query[:7])
    client, models = qdrant._client, qdrant._models
    vectors = models.VectorParams(size=8, distance=models.Distance.DOT)
    client.create_collection('theirs', vectors_config=vectors)
    point = models.PointStruct(id=1, vector=query.tolist(), payload=dict(a=1))
    client.upsert('theirs', [point])
    theirs = QdrantGallery(client, 'theirs')
    with pytest.raises(ValueError, match=r'point 1 is not of export\(\)'):
        theirs.search(query)
    with pytest.raises(ValueError, match='not replaced'):
        theirs.export(index)
    assert len(theirs) == 1


def test_qdrant_that_is_away(qdrant, tmp_path):
    with pytest.raises(ConnectionError, match='does not answer'):
        QdrantGallery('http://127.0.0.1:9')
    with pytest.raises(ConnectionError, match='nobody else have its folder open'):
        QdrantGallery(tmp_path / 'qdrant')


def test_packages_that_are_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, 'qdrant_client', None)
    with pytest.raises(ImportError, match='pip install qdrant-client'):
        QdrantGallery()
    monkeypatch.setitem(sys.modules, 'pyarrow', None)
    with pytest.raises(ImportError, match='pip install pyarrow'):
        write_parquet(make_tracked(2), 'a.parquet')


def test_parquet(tmp_path):
    parquet = pytest.importorskip('pyarrow.parquet')
    index = make_tracked(20)
    index.calibration = make_calibration(model_hash='f00d')
    path = write_parquet(index, tmp_path / 'a.parquet')
    again = read_parquet(path, 'f00d')
    assert rows_of(again) == rows_of(index) and again.root == index.root
    assert again.calibration == index.calibration
    query = unit(np.random.default_rng(7), 2)
    assert again.search(query) == index.search(query)
    assert read_parquet(path, root='/new').path_of(0) == f'/new/{index.paths[0]}'
    table = parquet.read_table(path)  # as others read it
    assert np.allclose(np.stack(table['vector'].to_numpy()), index.features)
    assert table['camera'].to_pylist() == index.cameras
    assert table['time'].to_pylist() == index.times.tolist()


def test_bad_parquet(tmp_path, monkeypatch):
    arrow = pytest.importorskip('pyarrow')
    parquet = pytest.importorskip('pyarrow.parquet')
    path = tmp_path / 'a.parquet'
    write_parquet(make_tracked(5), path)
    with pytest.raises(ValueError, match='another model'):
        read_parquet(path, 'beef')
    data = path.read_bytes()

    def full(handle):
        raise OSError(errno.ENOSPC, 'No space left on device')

    with monkeypatch.context() as patch:
        patch.setattr(os, 'fsync', full)
        with pytest.raises(OSError, match='No space'):
            write_parquet(make_tracked(9), path)
    assert path.read_bytes() == data and len(list(tmp_path.iterdir())) == 1
    path.write_bytes(data[:-50])
    with pytest.raises(ValueError, match=r'a\.parquet: expected a Parquet file of'):
        read_parquet(path)
    parquet.write_table(arrow.table(dict(id=[1])), path)
    with pytest.raises(ValueError, match='expected a Parquet file of'):
        read_parquet(path)
    with pytest.raises(FileNotFoundError):
        read_parquet(tmp_path / 'none.parquet')
    write_parquet(GalleryIndex(np.eye(2), ['/etc/a.png', 'b.png'], ['x', 'y']), path)
    with pytest.raises(ValueError, match='leaves the folder'):
        read_parquet(path)
    empty = make_tracked(3)
    empty.remove(after=0)
    write_parquet(empty, path)
    assert len(read_parquet(path)) == 0
