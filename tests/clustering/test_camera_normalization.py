# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmreid_gcl.clustering import DBSCANClusterer, normalize_by_camera
from mmreid_gcl.clustering.label_quality import adjusted_rand_index


def reference(features, camids, mode, min_images):
    """Row by row, from the definition."""
    out = []
    for row, camera in zip(features.astype(np.float64), camids):
        own = [x for x, c in zip(features, camids) if c == camera]
        if len(own) < min_images:
            own = list(features)
        own = np.array(own, np.float64)
        mean = own.sum(0) / len(own)
        variance = ((own - mean) ** 2).sum(0) / len(own)
        centred = row - mean
        if mode == 'standardize':
            centred = [
                d / v**0.5 if v > 1e-24 else 0.0 for d, v in zip(centred, variance)
            ]
        size = sum(float(v) ** 2 for v in row) ** 0.5
        length = sum(d * d for d in centred) ** 0.5
        if length <= 1e-6 * size:
            centred, length = row, size
        out.append([d / length for d in centred])
    return np.array(out).reshape(features.shape)


@settings(deadline=None, max_examples=60)
@given(
    n=st.integers(1, 40),
    c=st.integers(1, 7),
    cameras=st.integers(1, 5),
    mode=st.sampled_from(['mean', 'standardize']),
    min_images=st.integers(1, 12),
    dtype=st.sampled_from([np.float16, np.float32, np.float64]),
    seed=st.integers(0, 2**16),
)
def test_is_the_definition(n, c, cameras, mode, min_images, dtype, seed):
    rng = np.random.default_rng(seed)
    features = (rng.normal(size=(n, c)) + 3).astype(dtype)
    features[:, 0] = 1  # a constant channel
    camids = rng.integers(cameras, size=n) * 7 - 3
    out = normalize_by_camera(features, camids, mode, min_images)
    assert out.dtype == np.float32 and out.shape == (n, c)
    expected = reference(features, camids, mode, min_images)
    np.testing.assert_allclose(out, expected, rtol=1e-5, atol=1e-5)


def test_a_shift_by_the_camera_no_longer_splits_a_person():
    rng = np.random.default_rng(0)
    people = rng.normal(size=(20, 32)).repeat(12, axis=0)
    camids = np.tile(np.arange(3), 80)
    shift = 6 * rng.normal(size=(3, 32))[camids]
    features = people + shift + 0.3 * rng.normal(size=people.shape)
    pids = np.repeat(np.arange(20), 12)
    clusterer = DBSCANClusterer(eps=0.6, min_samples=4, k1=11, k2=3)
    before = adjusted_rand_index(clusterer(features), pids)
    after = adjusted_rand_index(clusterer(normalize_by_camera(features, camids)), pids)
    assert before < 0.5 and after > 0.95


def test_a_camera_that_shows_three_tracks():
    """Their mean would be three people; a fourth, or images without a track, do."""
    rng = np.random.default_rng(3)
    features = rng.normal(size=(120, 8)).astype(np.float32)
    camids = np.repeat([0, 1], [60, 60])
    tracks = np.concatenate([np.arange(60) // 6, 10 + np.arange(60) // 20])
    out = normalize_by_camera(features, camids, 'mean', tracks=tracks)
    for rows, mean in (
        (camids == 0, features[:60].mean(0)),
        (camids == 1, features.mean(0)),
    ):
        expected = features[rows] - mean
        expected /= np.linalg.norm(expected, axis=1, keepdims=True)
        np.testing.assert_allclose(out[rows], expected, atol=1e-5)
    for change in (13, -1):
        enough = np.where(np.arange(120) > 110, change, tracks)
        found = normalize_by_camera(features, camids, 'mean', tracks=enough)
        np.testing.assert_array_equal(
            found, normalize_by_camera(features, camids, 'mean')
        )


def test_a_camera_with_a_still_picture():
    rng = np.random.default_rng(1)
    people = rng.normal(size=(10, 16)).repeat(6, axis=0)
    features = people + 0.1 * rng.normal(size=people.shape)
    still = np.tile(rng.normal(size=16), (30, 1))
    features = np.concatenate([features, still]).astype(np.float32)
    camids = np.repeat([0, 1], [60, 30])
    for mode in ('mean', 'standardize'):
        out = normalize_by_camera(features, camids, mode)
        np.testing.assert_allclose(np.linalg.norm(out, axis=1), 1, rtol=1e-5)
        labels = DBSCANClusterer(eps=0.6, min_samples=4, k1=8, k2=3)(out)
        assert len(set(labels[60:])) == 1 and labels[60] >= 0


def test_does_not_write_to_its_input():
    features = np.arange(12.0).reshape(6, 2)
    copy = features.copy()
    normalize_by_camera(features, np.zeros(6, int), 'standardize', 1)
    np.testing.assert_array_equal(features, copy)


@pytest.mark.parametrize(
    ('features', 'camids', 'mode', 'message'),
    [
        (np.ones((3, 2)), np.zeros(2), 'mean', r'\(3, 2\) and camids \(2,\)'),
        (np.ones(3), np.zeros(3), 'mean', 'must be'),
        (np.ones((3, 2)), np.zeros(3), 'median', "'median'"),
    ],
)
def test_bad_input(features, camids, mode, message):
    with pytest.raises(ValueError, match=message):
        normalize_by_camera(features, camids, mode)
