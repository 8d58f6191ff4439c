# SPDX-License-Identifier: Apache-2.0
import errno
import hashlib
import json
import multiprocessing
import os
import threading
import time

import faiss
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmreid_gcl.apis.gallery_index import GalleryIndex, is_gallery
from mmreid_gcl.apis.inferencer import ReIDInferencer
from mmreid_gcl.datasets.image_folder import as_path
from mmreid_gcl.evaluation.calibration import Calibration
from mmreid_gcl.files import write_atomically

from .tiny import TEST_PIPELINE, draw, make_model, write, write_crops


def unit(rng, count, width=8):
    features = rng.normal(size=(count, width)).astype(np.float32)
    return features / np.linalg.norm(features, axis=1, keepdims=True)


def make_index(count=9, seed=0, cameras=('a', 'b', 'ünï 人')):
    rng = np.random.default_rng(seed)
    names = [cameras[i % len(cameras)] for i in range(count)]
    paths = [f'{name}/{i}.jpg' for i, name in enumerate(names)]
    return GalleryIndex(unit(rng, count), paths, names, '/crops', 'f00d' * 16)


@settings(deadline=None, max_examples=30)
@given(
    count=st.integers(1, 30),
    queries=st.integers(1, 4),
    topk=st.integers(1, 40),
    keep=st.sets(st.sampled_from(['a', 'b', 'ünï 人']), min_size=1),
    exclude=st.booleans(),
)
def test_search_against_plain_sorting(count, queries, topk, keep, exclude):
    index = make_index(count)
    keep = keep & set(index.cameras)
    if not keep or (exclude and keep == set(index.cameras)):
        return
    features = unit(np.random.default_rng(1), queries)
    option = 'exclude_cameras' if exclude else 'cameras'
    found = index.search(features, topk, **{option: keep})
    rows = [i for i, c in enumerate(index.cameras) if (c in keep) != exclude]
    assert len(found) == queries
    for query, matches in zip(features, found):
        scores = {i: float(query @ index.features[i]) for i in rows}
        expected = sorted(rows, key=lambda i: -scores[i])[:topk]
        assert [match.index for match in matches] == expected
        assert [match.rank for match in matches] == list(range(1, len(expected) + 1))
        for match in matches:
            assert match.score == pytest.approx(scores[match.index], abs=1e-5)
            assert match.path == f'/crops/{index.paths[match.index]}'
            assert match.camera == index.cameras[match.index]


@pytest.mark.parametrize('best', [False, True])
@pytest.mark.parametrize('topk', [1, 2, 50])
def test_other_cameras_and_the_best_of_each(topk, best):
    index = make_index(20)
    features = unit(np.random.default_rng(1), 4)
    own = ['a', 'b', 'a', 'elsewhere']
    found = index.search(
        features,
        topk,
        exclude_cameras='ünï 人',
        query_cameras=own,
        best_per_camera=best,
    )
    for query, camera, matches in zip(features, own, found):
        scores = [float(query @ row) for row in index.features]
        rows = [i for i, c in enumerate(index.cameras) if c not in (camera, 'ünï 人')]
        if best:
            rows = [
                max((i for i in rows if index.cameras[i] == c), key=lambda i: scores[i])
                for c in {index.cameras[i] for i in rows}
            ]
        expected = sorted(rows, key=lambda i: -scores[i])[:topk]
        assert [match.index for match in matches] == expected
        assert [match.rank for match in matches] == list(range(1, len(expected) + 1))
    one = index.search(features[0], topk, query_cameras='a')
    assert one == index.search(features[:1], topk, query_cameras=['a'])
    assert not any(match.camera == 'a' for match in one[0])
    with pytest.raises(ValueError, match='1 names for 4 queries'):
        index.search(features, query_cameras=['a'])
    with pytest.raises(ValueError, match='No image is left'):
        index.search(features, cameras='a', query_cameras=['a'] * 4)


def test_equal_scores_by_row():
    features = np.repeat(unit(np.random.default_rng(0), 1), 5, axis=0)
    index = GalleryIndex(features, list('abcde'), ['x'] * 5)
    assert [m.index for m in index.search(features[0])[0]] == [0, 1, 2, 3, 4]


def test_round_trip(tmp_path):
    index = make_index()
    index.failed = {'/crops/x.jpg': 'zero bytes'}
    out = index.save(tmp_path / 'a' / 'gallery')
    assert is_gallery(out) and not is_gallery(tmp_path)
    shown = {path.name for path in out.iterdir() if path.name[0] != '.'}
    assert shown == {'gallery.json', 'index.faiss'}
    again = GalleryIndex.load(out, index.model_hash)
    assert np.array_equal(again.features, index.features)
    for name in ('paths', 'cameras', 'root', 'model_hash', 'failed'):
        assert getattr(again, name) == getattr(index, name)
    for name in ('tracks', 'times', 'ids'):
        assert np.array_equal(getattr(again, name), getattr(index, name))
    query = unit(np.random.default_rng(5), 2)
    assert again.search(query) == index.search(query)
    moved = GalleryIndex.load(out, root='/elsewhere')
    assert moved.search(query[0])[0][0].path.startswith('/elsewhere/')


def test_an_index_is_replaced(tmp_path):
    make_index(9).save(tmp_path)
    make_index(4).save(tmp_path)
    assert len(GalleryIndex.load(tmp_path)) == 4


def test_another_model(tmp_path):
    make_index().save(tmp_path)
    with pytest.raises(ValueError, match=r'another model.*f00df00d.*abcdabcd'):
        GalleryIndex.load(tmp_path, 'abcd' * 16)


@pytest.mark.parametrize('share', [0, 0.3, 0.99])
@pytest.mark.parametrize('name', ['index.faiss', 'gallery.json'])
def test_truncated(tmp_path, name, share):
    make_index().save(tmp_path)
    data = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(data[: int(share * len(data))])
    with pytest.raises(ValueError, match=f'{name}.*cut off'):
        GalleryIndex.load(tmp_path)


@pytest.mark.parametrize('name', ['index.faiss', 'gallery.json'])
def test_missing(tmp_path, name):
    make_index().save(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(FileNotFoundError, match=name):
        GalleryIndex.load(tmp_path)
    with pytest.raises(FileNotFoundError, match='gallery index'):
        GalleryIndex.load(tmp_path / 'none')


@pytest.mark.parametrize(
    'key,value,message',
    [
        ('format', 'x', 'not the description'),
        ('version', 99, 'version 99'),
        ('paths', None, "'paths'"),
        ('paths', ['a'], '1 paths'),
        ('cameras', [], '0 cameras'),
        ('paths', [3] * 9, 'texts as paths'),
        ('cameras', [['a']] * 9, 'texts as paths'),
        ('paths', ['a.jpg'] * 8 + ['/etc/x.png'], "'/etc/x.png', which leaves"),
        ('paths', ['a.jpg'] * 8 + ['a/../../x.png'], "'a/../../x.png', which leaves"),
        ('root', '', 'expected a path'),
        ('images', -9, 'expected a flat index'),
        ('dim', -8, 'expected a flat index'),
        ('dim', 10**30, 'expected a flat index'),
    ],
)
def test_changed_description(tmp_path, key, value, message):
    make_index().save(tmp_path)
    meta = json.loads((tmp_path / 'gallery.json').read_text())
    (tmp_path / 'gallery.json').write_text(json.dumps({**meta, key: value}))
    with pytest.raises(ValueError, match=message):
        GalleryIndex.load(tmp_path)


def test_no_index_leaves_the_folder_of_its_images(inferencer, tmp_path):
    """A table may list images anywhere; the root is then what holds all of them."""
    with pytest.raises(ValueError, match=r"'/x/a\.png', which leaves"):
        GalleryIndex(np.eye(2), ['b.png', '/x/a.png'], 'xy').save(tmp_path / 'none')
    assert not (tmp_path / 'none').exists()
    other = write(tmp_path / 'shared' / 'a.png', draw(0))
    near = write(tmp_path / 'near' / 'b.png', draw(1))
    own = write(tmp_path / 'crops' / 'c..d.png', draw(2))
    (tmp_path / 'link').symlink_to(tmp_path / 'crops')
    table = f'path,camera\n{other},x\n../near/b.png,x\n{tmp_path}/link/c..d.png,y\n'
    (tmp_path / 'crops' / 'table.csv').write_text(table)
    built = inferencer.build_gallery(
        tmp_path / 'crops', tmp_path / 'index', annotation='table.csv'
    )
    again = inferencer.load_gallery(tmp_path / 'index')
    assert again.root == built.root == tmp_path.resolve()
    assert again.paths == ['crops/c..d.png', 'near/b.png', 'shared/a.png']
    found = {again.path_of(row) for row in range(3)}
    assert found == {str(path) for path in (own, near, other)}


def test_index_and_description_of_different_galleries(tmp_path):
    make_index(seed=0).save(tmp_path / 'a')
    make_index(seed=1).save(tmp_path / 'b')
    (tmp_path / 'a' / 'index.faiss').replace(tmp_path / 'b' / 'index.faiss')
    with pytest.raises(ValueError, match=r'not of the gallery\.json'):
        GalleryIndex.load(tmp_path / 'b')


def test_bad_searches():
    index = make_index(2, cameras=('a', 'b'))
    query = index.features[0]
    with pytest.raises(ValueError, match='7 values, the gallery 8'):
        index.search(query[:7])
    with pytest.raises(ValueError, match='topk'):
        index.search(query, 0)
    with pytest.raises(ValueError, match=r"no camera 'c'.*a, b"):
        index.search(query, cameras='c')
    with pytest.raises(ValueError, match='left to search'):
        index.search(query, exclude_cameras=['a', 'b'])


def test_bad_features(tmp_path):
    with pytest.raises(ValueError, match=r'\(3, 0\)'):
        GalleryIndex(np.zeros((3, 0)), list('abc'), list('xyz'))
    with pytest.raises(ValueError, match='finite'):
        GalleryIndex(np.full((1, 3), np.nan), ['a'], ['b'])
    with pytest.raises(ValueError, match='2 paths'):
        GalleryIndex(np.eye(3), ['a', 'b'], ['c'] * 3)
    (tmp_path / 'file').write_text('')
    with pytest.raises(NotADirectoryError):
        make_index().save(tmp_path / 'file')


def test_build_and_search(inferencer, tmp_path):
    crops = write_crops(tmp_path / 'crops', people=5)
    (crops / 'hall' / 'zero.jpg').write_bytes(b'')
    gallery = inferencer.build_gallery(crops, tmp_path / 'gallery')
    assert len(gallery) == 20 and set(gallery.cameras) == {'entrance', 'hall'}
    assert list(gallery.failed) == [str(crops.resolve() / 'hall' / 'zero.jpg')]
    matches = inferencer.search(crops / 'entrance' / '03_1.png', topk=3)
    assert matches[0].path == str(crops.resolve() / 'entrance' / '03_1.png')
    assert matches[0].score == pytest.approx(1, abs=1e-5)
    assert [match.score for match in matches] == sorted(
        (match.score for match in matches), reverse=True
    )
    others = inferencer.search(draw(3, 1), topk=5, exclude_cameras='entrance')
    assert {match.camera for match in others} == {'hall'}
    several = inferencer.search([draw(0, 0), draw(1, 0)], topk=1)
    assert [m.path.rsplit('/')[-1] for (m,) in several] == ['00_0.png', '01_0.png']

    again = ReIDInferencer(make_model(), pipeline=TEST_PIPELINE, progress=False)
    assert (
        again.search(draw(0), str(tmp_path / 'gallery'))[0].path
        == matches[0].path[: -len('03_1.png')] + '00_0.png'
    )


def test_gallery_of_another_model(inferencer, tmp_path):
    crops = write_crops(tmp_path / 'crops', people=1)
    gallery = inferencer.build_gallery(crops, tmp_path / 'gallery')
    bigger = [dict(type='Resize', scale=(32, 64)), dict(type='PackInputs')]
    for other in (
        ReIDInferencer(make_model(seed=1), pipeline=TEST_PIPELINE, progress=False),
        ReIDInferencer(make_model(seed=0), pipeline=bigger, progress=False),
    ):
        with pytest.raises(ValueError, match='another model'):
            other.load_gallery(tmp_path / 'gallery')
        with pytest.raises(ValueError, match='another model'):
            other.search(draw(0), gallery)
    with pytest.raises(ValueError, match='no gallery'):
        ReIDInferencer(make_model(), pipeline=TEST_PIPELINE).search(draw(0))


def change_through_data(model):
    model.neck.norm.weight.data.mul_(2)


def change_under_no_grad(model):
    with torch.no_grad():
        model.backbone.conv1.weight.add_(0.1)


def change_a_buffer(model):
    model.neck.norm.running_mean.add_(1)


def change_through_numpy(model):
    model.neck.norm.bias.detach().numpy()[0] += 1


def swap_two_weights(model):
    weight = model.neck.norm.weight.data
    weight[[0, 1]] = weight[[1, 0]]


def load_another_state(model):
    model.load_state_dict(make_model(seed=1).state_dict())


def change_the_normalisation(model):
    model.data_preprocessor.mean += 1


@pytest.mark.parametrize(
    'change',
    [
        change_through_data,
        change_under_no_grad,
        change_a_buffer,
        change_through_numpy,
        swap_two_weights,
        load_another_state,
        change_the_normalisation,
    ],
)
def test_weights_that_changed_in_place_are_another_model(tmp_path, change):
    model = make_model()
    inferencer = ReIDInferencer(model, pipeline=TEST_PIPELINE, progress=False)
    crops = write_crops(tmp_path / 'crops', people=1)
    gallery = inferencer.build_gallery(crops, tmp_path / 'gallery')
    inferencer.search(draw(0), gallery)
    change(model)
    for where in (gallery, None, tmp_path / 'gallery'):
        with pytest.raises(ValueError, match='another model'):
            inferencer.search(draw(0), where)
    with pytest.raises(ValueError, match='another model'):
        inferencer.load_gallery(tmp_path / 'gallery')
    inferencer.build_gallery(crops)
    assert inferencer.search(draw(0))[0].score == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize('value', [np.nan, np.inf, -np.inf])
def test_queries_must_be_finite(value):
    index = make_index()
    queries = unit(np.random.default_rng(0), 3)
    queries[1, 2] = value
    with pytest.raises(ValueError, match='Query 1 holds NaN or Inf'):
        index.search(queries)


def test_gallery_split(inferencer, tmp_path):
    image = draw(0)
    for path in ('gallery/hall/p1/a.png', 'query/hall/p1/b.png', 'x/c.png'):
        write(tmp_path / path, image)
    assert inferencer.build_gallery(tmp_path).paths == ['gallery/hall/p1/a.png']
    both = inferencer.build_gallery(tmp_path, split='test')
    assert both.paths == ['gallery/hall/p1/a.png', 'query/hall/p1/b.png']


def test_camera_from_a_pattern(inferencer, tmp_path):
    write(tmp_path / 'c7_1.png', draw(0))
    write(tmp_path / 'c9_1.png', draw(1))
    gallery = inferencer.build_gallery(tmp_path, pattern=r'c(?P<camera>\d)_')
    assert gallery.cameras == ['7', '9']


def test_another_kind_of_index_is_not_read(tmp_path):
    """faiss itself would open the files that such an index names."""
    gallery = GalleryIndex(np.eye(4, dtype=np.float32), list('abcd'), list('xxyy'))
    gallery.save(tmp_path)
    for kind in ('IVF1,Flat', 'HNSW4', 'SQ8', 'PCA2,Flat', 'IDMap,Flat'):
        index = faiss.index_factory(4, kind, faiss.METRIC_INNER_PRODUCT)
        index.train(np.eye(4, dtype=np.float32))
        if kind == 'IDMap,Flat':
            index.add_with_ids(np.eye(4, dtype=np.float32), np.arange(4))
        else:
            index.add(np.eye(4, dtype=np.float32))
        data = faiss.serialize_index(index).tobytes()
        (tmp_path / 'index.faiss').write_bytes(data)
        meta = json.loads((tmp_path / 'gallery.json').read_text())
        meta['index_sha256'] = hashlib.sha256(data).hexdigest()
        (tmp_path / 'gallery.json').write_text(json.dumps(meta))
        with pytest.raises(ValueError, match='expected a flat index of 4 embeddings'):
            GalleryIndex.load(tmp_path)


def rows_of(index):
    """What is known of each image, by its path."""
    return {
        path: (camera, track, when, number, tuple(feature))
        for path, camera, track, when, number, feature in zip(
            index.paths,
            index.cameras,
            index.tracks.tolist(),
            index.times.tolist(),
            index.ids.tolist(),
            index.features.tolist(),
        )
    }


def test_add():
    index = make_index(4)
    before = rows_of(index)
    more = unit(np.random.default_rng(3), 2)
    ids = index.add(more, ['b/new.jpg', 'c/new.jpg'], ['b', 'c'], [7, -1], [10, 20])
    assert ids.tolist() == [4, 5] and len(index) == 6
    after = rows_of(index)
    assert {path: after[path] for path in before} == before
    assert after['b/new.jpg'] == ('b', 7, 10.0, 4, tuple(more[0].tolist()))
    assert index.search(more[1], 1)[0][0].path == '/crops/c/new.jpg'
    assert [m.id for m in index.search(more, 1, cameras='c')[1]] == [5]
    begin = time.time()
    index.add(more[:1], ['d.jpg'], ['d'])
    assert begin <= index.times[-1] <= time.time()


@pytest.mark.parametrize(
    'given,message',
    [
        (dict(paths=['a/0.jpg', 'x']), r"'a/0\.jpg' twice \(1 such"),
        (dict(paths=['x', 'x']), "'x' twice"),
        (dict(features=np.eye(2)), 'have 2 values, those of the gallery 8'),
        (dict(cameras=['a']), '1 cameras'),
        (dict(tracks=[1]), 'tracks must be 2 integers'),
        (dict(tracks=[1.5, 2]), 'tracks must be 2 integers'),
        (dict(times=[1, np.nan]), 'times must be finite'),
        (dict(features=np.full((2, 8), np.inf)), 'finite'),
    ],
)
def test_what_cannot_be_added_changes_nothing(given, message):
    index = make_index(4)
    before = rows_of(index)
    good = dict(features=np.eye(2, 8), paths=['x', 'y'], cameras=['a', 'b'])
    with pytest.raises(ValueError, match=message):
        index.add(**{**good, **given})
    assert rows_of(index) == before and index.features.shape == (4, 8)


def make_tracked(count=12, seed=0):
    rng = np.random.default_rng(seed)
    cameras = rng.choice(['a', 'b'], count).tolist()
    return GalleryIndex(
        unit(rng, count),
        [f'{i}.jpg' for i in range(count)],
        cameras,
        '/crops',
        'f00d',
        tracks=rng.integers(-1, 3, count),
        times=rng.integers(0, 100, count),
        ids=rng.permutation(50)[:count],
    )


@pytest.mark.parametrize(
    'given,gone',
    [
        (lambda i: dict(ids=int(i.ids[3])), lambda r, i: r[3] == i.ids[3]),
        (lambda i: dict(paths=['2.jpg', '/crops/5.jpg']), None),
        (lambda i: dict(cameras='b'), lambda r, i: r[0] == 'b'),
        (
            lambda i: dict(cameras=['a'], tracks=1),
            lambda r, i: r[0] == 'a' and r[1] == 1,
        ),
        (lambda i: dict(cameras=['a', 'b'], tracks=[1, 2]), lambda r, i: r[1] > 0),
        (lambda i: dict(before=40), lambda r, i: r[2] < 40),
        (lambda i: dict(after=40, before=70), lambda r, i: 40 <= r[2] < 70),
        (
            lambda i: dict(cameras='a', after=50),
            lambda r, i: r[0] == 'a' and r[2] >= 50,
        ),
        (lambda i: dict(after=0), lambda r, i: True),
    ],
)
def test_remove(tmp_path, given, gone):
    index = make_tracked()
    before = rows_of(index)
    expected = {
        path: row
        for path, row in before.items()
        if not (gone(row, index) if gone else path in ('2.jpg', '5.jpg'))
    }
    assert len(expected) < len(before)
    assert index.remove(**given(index)) == len(before) - len(expected)
    assert rows_of(index) == expected and list(expected) == index.paths
    index.save(tmp_path)
    again = GalleryIndex.load(tmp_path)
    assert rows_of(again) == expected
    query = unit(np.random.default_rng(9), 1)
    (found,) = again.search(query, 20)
    assert {m.path for m in found} == {f'/crops/{path}' for path in expected}
    # numbers of what is gone are not given again
    assert again.add(query, ['new'], ['a']) == [max(r[3] for r in before.values()) + 1]


@pytest.mark.parametrize(
    'given,message',
    [
        ({}, 'say which'),
        (dict(ids=[0, 99]), 'no id 99'),
        (dict(paths='x.jpg'), r"no path 'x\.jpg'"),
        (dict(cameras='c'), "no camera 'c'"),
        (dict(cameras='a', tracks=[1, 9]), 'no track 9'),
        (dict(cameras='b', tracks=5), 'no track 5'),
        (dict(tracks=1), 'Several cameras have a track of this number: a, b'),
    ],
)
def test_what_cannot_be_removed_changes_nothing(given, message):
    index = make_tracked()
    index.ids[0] = 0
    before = rows_of(index)
    with pytest.raises(ValueError, match=message):
        index.remove(**given)
    assert rows_of(index) == before


def test_expire():
    index = make_tracked()
    kept = {path for path, row in rows_of(index).items() if row[2] >= 100 - 60}
    assert index.expire(60, now=100) == 12 - len(kept) > 0
    assert set(index.paths) == kept
    assert index.expire(60, now=100) == 0
    for age in (-1, np.nan):
        with pytest.raises(ValueError, match='max_age'):
            index.expire(age)


def test_merge():
    first, second = make_index(4), make_index(3, seed=1)
    second.paths = [f'new/{path}' for path in second.paths]
    expected = [*first.features.tolist(), *second.features.tolist()]
    first.merge(second)
    assert first.features.tolist() == expected
    assert first.paths[4:] == second.paths and first.ids.tolist() == [*range(7)]
    assert first.root == second.root


def test_merge_of_galleries_under_different_roots():
    first, second = make_index(2), make_index(2, seed=1)
    second.root = as_path('/other/place')
    second.failed = {'/other/place/x.jpg': 'why'}
    files = [gallery.path_of(row) for gallery in (first, second) for row in (0, 1)]
    first.merge(second)
    assert str(first.root) == '/' and first.failed == second.failed
    assert [first.path_of(row) for row in range(4)] == files


@pytest.mark.parametrize('same', [False, True])
def test_merge_keeps_tracks_apart(same):
    first, second = make_index(3, cameras='a'), make_index(5, 1, cameras='aaaab')
    second.paths = [f'new/{path}' for path in second.paths]
    first.tracks[:] = [0, 5, -1]
    second.tracks[:] = [5, 5, 7, -1, 5]
    first.merge(second, same_tracks=same)
    # 5 is taken on camera a; 1 is the smallest number that nobody has
    assert first.tracks[3:].tolist() == ([5, 5] if same else [1, 1]) + [7, -1, 5]


def test_a_crop_that_was_mended_is_no_failure():
    first, second = make_index(2), make_index(1, seed=1)
    second.paths = ['mended.jpg']
    first.failed = {'/crops/mended.jpg': 'cut off', '/crops/x.jpg': 'cut off'}
    first.merge(second)
    assert first.failed == {'/crops/x.jpg': 'cut off'}


def test_what_cannot_be_merged_changes_nothing():
    first, second = make_index(4), make_index(3, seed=1)
    before = rows_of(first)
    with pytest.raises(ValueError, match='twice'):
        first.merge(second)
    second.model_hash = 'beef'
    with pytest.raises(ValueError, match='f00df00d and beef'):
        first.merge(second)
    assert rows_of(first) == before


def test_search_by_track():
    """Against plain loops: the best image of each (camera, track), -1 alone."""
    for seed in range(8):
        index = make_tracked(30, seed)
        query = unit(np.random.default_rng(100 + seed), 1)[0]
        scores = index.features @ query
        best = {}
        for row in np.argsort(-scores):
            camera, track = index.cameras[row], int(index.tracks[row])
            best.setdefault((camera, track, row if track < 0 else None), row)
        for topk in (1, 3, 5, 40):
            found = index.search(query, topk, by_track=True)[0]
            assert [m.index for m in found] == list(best.values())[:topk]
            assert [m.rank for m in found] == list(range(1, len(found) + 1))
        only = index.search(query, 40, cameras='a', by_track=True)[0]
        expected = [row for key, row in best.items() if key[0] == 'a']
        assert [m.index for m in only] == expected


def test_per_track():
    index = make_tracked(30)
    quality = np.random.default_rng(1).integers(1, 4, 30)
    tracks = index.per_track(quality)
    members = {}
    for row in range(30):
        camera, track = index.cameras[row], int(index.tracks[row])
        key = (camera, track, row if track < 0 else None)
        members.setdefault(key, []).append(row)
    assert len(tracks) == len(members) < 30
    for position, rows in enumerate(members.values()):
        mean = sum(quality[row] * index.features[row] for row in rows)
        mean /= np.sqrt((mean**2).sum())
        assert tracks.features[position] == pytest.approx(mean, abs=1e-6)
        best = max(rows, key=lambda row: (quality[row], -row))
        assert tracks.paths[position] == index.paths[best]
        assert tracks.ids[position] == index.ids[best]
        assert tracks.cameras[position] == index.cameras[best]
        assert tracks.tracks[position] == index.tracks[best]
        assert tracks.times[position] == min(index.times[row] for row in rows)
    assert tracks.model_hash == index.model_hash


def test_bad_quality():
    index = make_tracked(4)
    for bad in ([1, 1, 0, 1], [1, 1, -1, 1]):
        with pytest.raises(ValueError, match='positive'):
            index.per_track(bad)
    with pytest.raises(ValueError, match='quality must be 4 numbers'):
        index.per_track([1, 2])
    opposite = GalleryIndex([[1, 0], [-1, 0]], ['a', 'b'], ['x', 'x'], tracks=[1, 1])
    with pytest.raises(ValueError, match='cancel'):
        opposite.per_track()


def test_search_by_a_shortlist(monkeypatch):
    """What it names has exact scores, also after rows came and went."""
    monkeypatch.setattr('mmreid_gcl.apis.gallery_search._CANDIDATES', 60)
    monkeypatch.setattr('mmreid_gcl.clustering.shortlist._SMALL', 100)
    rng = np.random.default_rng(0)

    def names(n):
        return [f'{rng.integers(1 << 40)}.jpg' for _ in range(n)]

    index = GalleryIndex(unit(rng, 500, 64), names(500), ['a', 'b'] * 250)
    queries = unit(rng, 5, 64)

    def compare():
        for options in (dict(), dict(cameras='a'), dict(by_track=True)):
            exact = index.search(queries, 7, **options)
            likely = index.search(queries, 7, exact=False, **options)
            for expected, found in zip(exact, likely):
                assert found[0].index == expected[0].index
                assert len({m.index for m in found + expected}) <= 9
                for match in found:
                    score = float(
                        index.features[match.index] @ queries[len(scored) % 5]
                    )
                    assert match.score == pytest.approx(score, abs=1e-5)
                scored.append(found)

    scored = []
    compare()
    index.add(unit(rng, 130, 64), names(130), ['b'] * 130)
    compare()
    index.remove(ids=index.ids[rng.choice(630, 200, replace=False)])
    compare()
    assert len(index._vectors._shortlist) == 430


def test_an_empty_gallery(tmp_path):
    index = make_index(3)
    index.remove(cameras=set(index.cameras))
    assert len(index) == 0
    index.save(tmp_path)
    again = GalleryIndex.load(tmp_path, index.model_hash)
    query = unit(np.random.default_rng(0), 2)
    assert again.search(query) == [[], []] and again.dim == 8
    assert again.add(query, ['a', 'b'], ['x', 'y']).tolist() == [3, 4]
    assert again.search(query, 1)[1][0].id == 4


def test_an_index_of_before(tmp_path):
    """Without ids, tracks and times: numbered, and as old as its file."""
    make_index(3).save(tmp_path)
    path = tmp_path / 'gallery.json'
    meta = json.loads(path.read_text())
    for name in ('ids', 'next_id', 'tracks', 'times'):
        del meta[name]
    path.write_text(json.dumps(meta))
    os.utime(path, (1000, 1000))
    again = GalleryIndex.load(tmp_path)
    assert again.ids.tolist() == [0, 1, 2] and again.tracks.tolist() == [-1] * 3
    assert again.times.tolist() == [1000.0] * 3
    assert again.add(np.eye(1, 8), ['x'], ['y']).tolist() == [3]


def test_edit(tmp_path):
    make_index(6).save(tmp_path)
    with GalleryIndex.edit(tmp_path, 'f00d' * 16) as gallery:
        gallery.remove(cameras='a')
        assert len(GalleryIndex.load(tmp_path)) == 6  # readers see the old one
        for change in (gallery.save, lambda out: GalleryIndex.edit(out).__enter__()):
            with pytest.raises(BlockingIOError, match=r'somebody else.*this program'):
                change(tmp_path)
    assert len(GalleryIndex.load(tmp_path)) == 4
    with pytest.raises(KeyError), GalleryIndex.edit(tmp_path) as gallery:
        gallery.remove(cameras='b')
        raise KeyError
    assert len(GalleryIndex.load(tmp_path)) == 4
    with pytest.raises(ValueError, match='another model'):
        GalleryIndex.edit(tmp_path, 'beef').__enter__()
    with pytest.raises(FileNotFoundError, match='no such folder'):
        GalleryIndex.edit(tmp_path / 'none').__enter__()
    assert not (tmp_path / 'none').exists()


def _edit(folder, begun, end):
    with GalleryIndex.edit(folder):
        begun.set()
        end.wait(60)


def test_a_second_writer_is_refused(tmp_path):
    make_index(6).save(tmp_path)
    fork = multiprocessing.get_context('fork')
    begun, end = fork.Event(), fork.Event()
    other = fork.Process(target=_edit, args=(tmp_path, begun, end))
    other.start()
    try:
        assert begun.wait(60)
        for change in (
            make_index().save,
            lambda out: GalleryIndex.edit(out).__enter__(),
        ):
            with pytest.raises(BlockingIOError, match=rf'pid {other.pid} on'):
                change(tmp_path)
        assert len(GalleryIndex.load(tmp_path)) == 6
    finally:
        end.set()
        other.join(60)
    make_index(5).save(tmp_path)


def test_readers_see_the_old_or_the_new_gallery(tmp_path):
    galleries = [make_index(count, seed=count) for count in (5, 9)]
    galleries[0].save(tmp_path)
    stop = threading.Event()

    def write():
        for n in range(1000):
            if stop.is_set():
                break
            galleries[n % 2].save(tmp_path)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(150):
            seen = GalleryIndex.load(tmp_path)
            expected = galleries[0 if len(seen) == 5 else 1]
            assert np.array_equal(seen.features, expected.features)
    finally:
        stop.set()
        writer.join()


@pytest.mark.parametrize('stage', ['index', 'description', 'rename'])
def test_killed_while_writing(tmp_path, monkeypatch, stage):
    old, new = make_index(5), make_index(9, seed=1)
    old.save(tmp_path)
    calls = []

    class Killed(BaseException):
        pass

    def write(path, data):
        calls.append(path)
        if stage == ('index', 'description')[len(calls) - 1 : len(calls)][0]:
            raise Killed
        write_atomically(path, data)

    def replace(self, target):
        raise Killed

    with monkeypatch.context() as patch:
        if stage == 'rename':
            patch.setattr('pathlib.Path.replace', replace)
        else:
            patch.setattr('mmreid_gcl.apis.gallery_files.write_atomically', write)
        with pytest.raises(Killed):
            new.save(tmp_path)
    expected = new if stage == 'rename' else old
    assert np.array_equal(GalleryIndex.load(tmp_path).features, expected.features)
    make_index(7, seed=2).save(tmp_path)
    assert len(GalleryIndex.load(tmp_path)) == 7
    files = sorted(path.name for path in tmp_path.iterdir())
    assert files == ['.gallery.lock', 'gallery.json', 'index.faiss']


@pytest.mark.parametrize('write', [1, 2])
def test_a_full_disk(tmp_path, monkeypatch, write):
    old = make_index(5)
    old.save(tmp_path)
    done = []

    def fsync(handle, really=os.fsync):
        done.append(handle)
        # a write is a file and its folder
        if len(done) == 2 * write - 1:
            raise OSError(errno.ENOSPC, 'No space left on device')
        really(handle)

    with monkeypatch.context() as patch:
        patch.setattr(os, 'fsync', fsync)
        with pytest.raises(OSError, match=r'No space left.*unchanged') as caught:
            make_index(9).save(tmp_path)
    assert caught.value.errno == errno.ENOSPC and str(tmp_path) in str(caught.value)
    assert np.array_equal(GalleryIndex.load(tmp_path).features, old.features)
    files = sorted(path.name for path in tmp_path.iterdir())
    assert files == ['.gallery.lock', 'gallery.json', 'index.faiss']


def test_times_of_crops_are_those_of_the_records_or_now(inferencer, tmp_path):
    """Timestamps; frame numbers and the dates of files are no times."""
    for n in range(3):
        os.utime(write(tmp_path / f'a/{n}.png', draw(n)), (500, 500))
    table = tmp_path / 'images.csv'
    stamps = ('1970-01-01T00:01:40.500', '1970-01-02', '')
    for times, expected in (
        (stamps, [100.5, 86400.0, None]),
        (('7', '8', ''), [None] * 3),
        (('7.5', '8', ''), [None] * 3),
        (None, [None] * 3),
    ):
        rows = [f'a/{n}.png,{stamp}' for n, stamp in enumerate(times or ())]
        table.write_text('\n'.join(['path,time', *rows]))
        begin = time.time()
        index = inferencer.build_gallery(tmp_path, annotation=times and str(table))
        for found, known in zip(index.times, expected, strict=True):
            assert found == known if known else begin <= found <= time.time()


def make_calibration(**changes):
    values = dict(threshold=0.3, rate=0.01, over='search', cameras='across')
    values.update(interval=[0.2, 0.4], confidence=0.95, hits=0.5, prior=0.5)
    values.update(hits_interval=[0.4, 0.6], people=20, images=100, method='isotonic')
    values.update(x=[0.0, 0.5, 1.0], y=[0.0, 0.25, 1.0], model_hash='f00d' * 16)
    return Calibration(**{**values, **changes})


def test_a_calibration_is_kept_with_its_model(tmp_path):
    index = make_index()
    assert index.search(index.features[0])[0][0].probability is None
    index.calibration = make_calibration()
    again = GalleryIndex.load(index.save(tmp_path))
    assert again.calibration == index.calibration
    for match in again.search(index.features[0])[0]:
        score = max(match.score, 0)
        expected = 0.5 * score if score < 0.5 else 0.25 + 1.5 * (score - 0.5)
        assert match.probability == pytest.approx(min(expected, 1), abs=1e-6)
    assert again.per_track().calibration is None
    with pytest.raises(ValueError, match='another model than the gallery'):
        index.calibration = make_calibration(model_hash='beef')


@pytest.mark.parametrize(
    'change,message',
    [
        (dict(threshold='0.3'), "'threshold' must be float"),
        (dict(x=[0, None, 1]), "'x' must be"),
        (dict(x=[0.0, 0.0, 1.0]), 'contradicts itself'),
        (dict(over='all'), 'contradicts itself'),
        (dict(y=[1.0]), 'contradicts itself'),
        (dict(more=1), 'expected the keys'),
        (dict(model_hash='beef'), 'another model'),
    ],
)
def test_a_changed_calibration(tmp_path, change, message):
    index = make_index()
    index.calibration = make_calibration()
    path = index.save(tmp_path) / 'gallery.json'
    meta = json.loads(path.read_text())
    meta['calibration'].update(change)
    path.write_text(json.dumps(meta))
    with pytest.raises(ValueError, match=message):
        GalleryIndex.load(tmp_path)


def test_nobody_is_named_below_the_threshold(inferencer, tmp_path):
    crops = write_crops(tmp_path / 'crops', people=3)
    gallery = inferencer.build_gallery(crops)
    every = inferencer.search(draw(0))
    between = (every[1].score + every[2].score) / 2
    model_hash = inferencer.model_hash
    gallery.calibration = make_calibration(threshold=between, model_hash=model_hash)
    assert [m.path for m in inferencer.search(draw(0))] == [m.path for m in every[:2]]
    assert len(inferencer.search(draw(0), threshold=-1)) == len(every)
    assert inferencer.search([draw(0)], threshold=1.1) == [[]]
    with pytest.raises(ValueError, match='nan'):
        inferencer.search(draw(0), threshold=float('nan'))


@pytest.mark.parametrize('over', ['search', 'pair'])
def test_a_gallery_that_outgrew_its_calibration(over):
    index = make_index()
    assert index.calibration_warning == ''
    index.calibration = make_calibration(over=over, images=5)
    assert len(index) == 9 and index.calibration_warning == ''
    index.calibration = make_calibration(over=over, images=4)
    assert bool(index.calibration_warning) == (over == 'search')
