# SPDX-License-Identifier: Apache-2.0
import hashlib
import json

import faiss
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmreid_gcl.apis.gallery_index import GalleryIndex, is_gallery
from mmreid_gcl.apis.inferencer import ReIDInferencer

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
    assert sorted(path.name for path in out.iterdir()) == [
        'gallery.json',
        'index.faiss',
    ]
    again = GalleryIndex.load(out, index.model_hash)
    assert np.array_equal(again.features, index.features)
    for name in ('paths', 'cameras', 'root', 'model_hash', 'failed'):
        assert getattr(again, name) == getattr(index, name)
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
    with pytest.raises(ValueError, match=r'\(0, 3\)'):
        GalleryIndex(np.zeros((0, 3)), [], [])
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
