# SPDX-License-Identifier: Apache-2.0
import builtins
import sys

import numpy as np
import pytest
from matplotlib.colors import to_hex

from mmreid_gcl.visualization import embedding_map, project
from mmreid_gcl.visualization.projection import check_method

POINTS = np.array([[0.0, 0], [1, 0], [2, 5], [3, 5], [4, 4]])
PIDS = [3, 3, 9, 9, -1]
CAMS = [1, 2, 1, 2, 6]


def drawn(axes):
    """(x, y) -> (colour, index of the collection)."""
    found = {}
    for c in axes.collections:
        offsets, colors = np.asarray(c.get_offsets()), c.get_facecolors()
        for n, point in enumerate(offsets):
            found[tuple(point)] = (to_hex(colors[n]), c.get_gid())
    return found


def test_identities_are_colours_and_cameras_are_shapes():
    (axes,) = embedding_map(POINTS, PIDS, CAMS).axes
    found = drawn(axes)
    assert set(found) == {tuple(p) for p in POINTS}
    color = {k: v[0] for k, v in found.items()}
    assert color[0, 0] == color[1, 0] != color[2, 5] == color[3, 5]
    assert color[4, 4] == '#aaaaaa'
    shape = {c.get_gid(): c.get_paths()[0].vertices.shape for c in axes.collections}
    assert found[0, 0][1] == found[2, 5][1] == 'camera-1'
    assert found[1, 0][1] == found[3, 5][1] == 'camera-2'
    assert len(set(shape.values())) == 3
    cameras = [t.get_text() for t in axes.artists[0].get_texts()]
    assert cameras == ['cam 1', 'cam 2', 'cam 6']
    names = {1: 'hall', 2: 'cam2', 6: '07'}
    (axes,) = embedding_map(POINTS, PIDS, CAMS, camera_names=names).axes
    cameras = [t.get_text() for t in axes.artists[0].get_texts()]
    assert cameras == ['hall', 'cam2', 'cam 07']
    names[6] = 'entrance-north-by-the-stairs-2'
    figure = embedding_map(POINTS, PIDS, CAMS, camera_names=names)
    figure.canvas.draw()
    legend = figure.axes[0].artists[0]
    assert legend.get_texts()[2].get_text().startswith('entra')
    assert legend.get_window_extent().x1 <= figure.bbox.x1
    people = [t.get_text() for t in axes.get_legend().get_texts()]
    assert people == ['not known', '3', '9']


def test_panels_share_the_meaning_of_colours_and_have_equal_scales():
    figure = embedding_map(
        {'before': POINTS, 'after': POINTS[::-1]}, PIDS, CAMS, 'title', 'note'
    )
    before, after = figure.axes
    assert before.get_title() == 'before' and after.get_title() == 'after'
    assert drawn(before)[0, 0][0] == drawn(after)[4, 4][0]
    for axes in figure.axes:
        assert axes.get_aspect() == 1
        assert len(axes.get_xticks()) == len(axes.get_yticks()) == 0
    written = [t.get_text() for t in figure.texts]
    assert written == ['title', 'note']


def test_without_cameras_one_shape_and_long_legends_are_cut():
    points = np.random.default_rng(0).normal(size=(60, 2))
    (axes,) = embedding_map(points, np.arange(60)).axes
    assert len(axes.collections) == 1 and not axes.artists
    words = [t.get_text() for t in axes.get_legend().get_texts()]
    assert len(words) == 25 and words[-1] == 'and 36 more'


@pytest.mark.parametrize(
    'points, pids, cams, words',
    [
        (np.zeros((0, 2)), [], None, 'no point'),
        ({}, [], None, 'no point'),
        (np.zeros((3, 2)), [1, 2], None, r'\(2, 2\).*\(3, 2\)'),
        (np.zeros((2, 3)), [1, 2], None, r'\(2, 3\)'),
        ({'a': np.full((2, 2), np.nan)}, [1, 2], None, "points\\['a'\\] hold NaN"),
        (np.zeros((2, 2)), [1, 2], [1], 'camids has 1'),
    ],
)
def test_bad_input_is_named(points, pids, cams, words):
    with pytest.raises(ValueError, match=words):
        embedding_map(points, pids, cams)


@pytest.fixture
def groups():
    rng = np.random.default_rng(0)
    centres = 8 * rng.normal(size=(2, 7))
    return centres[np.repeat([0, 1], 12)] + rng.normal(size=(24, 7))


@pytest.mark.parametrize('method', ['tsne', 'pca'])
def test_groups_stay_apart_and_a_seed_is_a_result(groups, method):
    points = project(groups, method, seed=3, neighbours=5)
    assert points.shape == (24, 2) and points.dtype == np.float32
    np.testing.assert_array_equal(points, project(groups, method, 3, 5))
    inside = max(np.ptp(points[:12], axis=0).max(), np.ptp(points[12:], axis=0).max())
    apart = np.linalg.norm(points[:12].mean(axis=0) - points[12:].mean(axis=0))
    assert apart > 0.7 * inside
    nearest = np.linalg.norm(points[:, None] - points[None], axis=2)
    np.fill_diagonal(nearest, np.inf)
    assert ((nearest.argmin(axis=1) < 12) == (np.arange(24) < 12)).all()


def test_pca_is_that_of_the_covariance(groups):
    _, vectors = np.linalg.eigh(np.cov(groups.T))
    expected = (groups - groups.mean(axis=0)) @ vectors[:, ::-1][:, :2]
    got = project(groups, 'pca')
    np.testing.assert_allclose(np.abs(got), np.abs(expected), atol=1e-3)


@pytest.mark.parametrize('method', ['tsne', 'pca'])
@pytest.mark.parametrize('shape', [(2, 5), (4, 1), (3, 3)])
def test_few_images(method, shape):
    points = project(np.random.default_rng(1).normal(size=shape), method)
    assert points.shape == (shape[0], 2) and np.isfinite(points).all()


def test_equal_features():
    assert np.isfinite(project(np.ones((6, 3)))).all()


def test_umap_is_optional(groups, monkeypatch):
    real = builtins.__import__

    def refuse(name, *args, **kwargs):
        if name.partition('.')[0] == 'umap':
            raise ImportError('no')
        return real(name, *args, **kwargs)

    monkeypatch.delitem(sys.modules, 'umap', raising=False)
    monkeypatch.setattr(builtins, '__import__', refuse)
    with pytest.raises(ImportError, match=r"umap-learn.*method='tsne'"):
        project(groups, 'umap')
    with pytest.raises(ImportError, match='umap-learn'):
        check_method('umap')  # before anything is embedded
    check_method('tsne')


@pytest.mark.slow  # its compiled parts take half a minute to import
def test_umap_where_it_is(groups):
    pytest.importorskip('umap')
    points = project(groups, 'umap', seed=1, neighbours=5)
    assert points.shape == (24, 2)
    np.testing.assert_array_equal(points, project(groups, 'umap', 1, 5))


@pytest.mark.parametrize(
    'features, method, words',
    [
        (np.ones((3, 2)), 'mds', "'mds'"),
        (np.ones((1, 2)), 'pca', r'\(1, 2\)'),
        (np.ones(4), 'pca', r'\(4,\)'),
        (np.ones((4, 3)), 'umap', 'at least 5 images, got 4'),
        (np.array([[1, np.inf], [0, 0]]), 'pca', 'NaN or Inf'),
    ],
)
def test_bad_features_are_named(features, method, words):
    with pytest.raises(ValueError, match=words):
        project(features, method)
