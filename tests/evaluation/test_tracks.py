# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import torch

from mmreid_gcl.evaluation import track_means


def by_loops(features, tracks, weights):
    """Means in the order of the first images, and the row of each image."""
    rows, sums, groups = {}, [], []
    for i, (feature, track) in enumerate(zip(features, tracks)):
        key = ('image', i) if track < 0 else ('track', track)
        if key not in rows:
            rows[key] = len(sums)
            sums.append(np.zeros(len(feature)))
        sums[rows[key]] += weights[i] * feature / np.sqrt((feature**2).sum())
        groups.append(rows[key])
    return [total / np.sqrt((total**2).sum()) for total in sums], groups


@pytest.mark.parametrize('weighted', [False, True])
@pytest.mark.parametrize('dtype', ['float32', 'float64', 'float16'])
def test_by_loops(dtype, weighted):
    rng = np.random.default_rng(0)
    tracks = rng.integers(-1, 12, 60)
    features = (rng.standard_normal((60, 5)) + 1).astype(dtype)
    weights = rng.random(60) + 0.1 if weighted else None
    expected, groups = by_loops(
        features.astype('float64'), tracks, np.ones(60) if weights is None else weights
    )
    tolerance = 1e-12 if dtype == 'float64' else 1e-6
    for given in (features, torch.from_numpy(features)):
        means, rows = track_means(given, tracks, weights)
        assert isinstance(means, type(given))
        assert str(means.dtype).endswith('64' if dtype == 'float64' else '32')
        np.testing.assert_allclose(means, expected, atol=tolerance)
        assert rows.tolist() == groups and rows.dtype == np.int64


def test_an_image_of_weight_0_is_not_there():
    features = np.eye(3)
    means, _ = track_means(features, [4, 4, 9], [0, 2, 1])
    assert means.tolist() == [[0, 1, 0], [0, 0, 1]]


@pytest.mark.parametrize(
    ('features', 'weights', 'message'),
    [
        ([[1.0, 0], [-1, 0], [1, 0]], None, 'means of tracks'),  # they cancel out
        (np.ones((3, 2)), [0, 0, 1], 'means of tracks'),
        (np.ones((3, 2)), [1, -1, 1], 'finite and not negative'),
        (np.ones((3, 2)), [1, np.nan, 1], 'finite and not negative'),
        (np.ones((3, 2)), [1, 1], r'weights must be .* shape \(3,\)'),
        (np.ones((4, 2)), None, r'tracks must have one entry'),
        (np.zeros((3, 2)), None, 'features'),
    ],
)
def test_what_has_no_mean(features, weights, message):
    with pytest.raises(ValueError, match=message):
        track_means(np.array(features), [5, 5, 6], weights)
