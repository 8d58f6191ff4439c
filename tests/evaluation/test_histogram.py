# SPDX-License-Identifier: Apache-2.0
import colorsys
import json
import math

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mmreid_gcl.datasets.synthetic import Layout, write_synthetic
from mmreid_gcl.evaluation.histogram import (
    DISTANCES,
    WIDTH,
    chi_square_distance,
    evaluate_histograms,
    hellinger_distance,
    hsv_stripe_histogram,
    intersection_distance,
)
from tools.analysis.histogram_baseline import main


def slow_histogram(image):
    """Pixel by pixel, with Python's own conversion to HSV."""
    height, width = image.shape[:2]
    result = np.zeros((6, 8, 8, 8))
    for i in range(6):
        first, last = i * height // 6, (i + 1) * height // 6
        for y in range(first, last):
            for x in range(width):
                blue, green, red = (int(c) / 255 for c in image[y, x])
                h, s, v = colorsys.rgb_to_hsv(red, green, blue)
                # OpenCV's full range: a hue of 256 is that of 0.
                bins = [round(h * 256) % 256, round(s * 255), round(v * 255)]
                result[(i, *(b // 32 for b in bins))] += 1
        result[i] /= 6 * (last - first) * width
    return result.ravel()


# Colours whose hue, saturation and value are away from the edges of the bins.
SAFE = [(20, 30, 200), (200, 40, 30), (40, 180, 60), (10, 10, 10), (240, 240, 240),
        (120, 200, 210), (90, 60, 140), (0, 0, 0), (70, 110, 40)]  # fmt: skip


@pytest.mark.parametrize('shape', [(6, 1), (13, 5), (64, 32), (31, 17)])
def test_histogram_against_loops(shape):
    rng = np.random.default_rng(0)
    image = np.array(SAFE, np.uint8)[rng.integers(len(SAFE), size=shape)]
    np.testing.assert_allclose(
        hsv_stripe_histogram(image), slow_histogram(image), atol=1e-7
    )


def test_histogram_by_hand():
    image = np.zeros((12, 4, 3), np.uint8)
    image[:2] = (0, 0, 255)  # top stripe: red
    image[10, :2] = 255  # a quarter of the last stripe: white
    result = hsv_stripe_histogram(image).reshape(6, 8, 8, 8)
    assert result[0, 0, 7, 7] == pytest.approx(1 / 6)
    assert result[3, 0, 0, 0] == pytest.approx(1 / 6)
    assert result[5, 0, 0, 7] == pytest.approx(1 / 24)
    assert result[5, 0, 0, 0] == pytest.approx(3 / 24)
    assert np.count_nonzero(result) == 7


def test_histogram_of_an_image_in_strides():
    image = np.random.default_rng(1).integers(0, 256, (20, 9, 3), np.uint8)
    result = hsv_stripe_histogram(image)
    assert result.shape == (WIDTH,)
    assert result.dtype == np.float32
    np.testing.assert_allclose(result.sum(), 1, rtol=1e-5)
    mirrored = np.ascontiguousarray(image[:, ::-1])[:, ::-1]
    np.testing.assert_array_equal(hsv_stripe_histogram(mirrored), result)


@pytest.mark.parametrize(
    'image',
    [
        np.zeros((5, 4, 3), np.uint8),
        np.zeros((8, 0, 3), np.uint8),
        np.zeros((8, 4), np.uint8),
        np.zeros((8, 4, 4), np.uint8),
        np.zeros((8, 4, 3), np.float32),
    ],
)
def test_bad_images(image):
    with pytest.raises(ValueError, match='image'):
        hsv_stripe_histogram(image)


def slow_distances(p, q):
    hellinger = math.sqrt(max(0, 1 - sum(math.sqrt(a * b) for a, b in zip(p, q))))
    chi = 0.5 * sum((a - b) ** 2 / (a + b) for a, b in zip(p, q) if a + b)
    return hellinger, chi, 1 - sum(min(a, b) for a, b in zip(p, q))


@pytest.mark.parametrize('dtype', [np.float32, np.float64])
@settings(max_examples=25, deadline=None)
@given(
    values=arrays(np.int64, (5, 11), elements=st.integers(0, 9)),
    split=st.integers(1, 4),
)
def test_distances_against_loops(dtype, values, split):
    values[:, 0] += 1  # no empty histogram
    rows = (values / values.sum(1, keepdims=True)).astype(dtype)
    first, second = rows[:split], rows[split:]
    found = [
        distance(first, second)
        for distance in (hellinger_distance, chi_square_distance, intersection_distance)
    ]
    for i, p in enumerate(first.tolist()):
        for j, q in enumerate(second.tolist()):
            expected = slow_distances(p, q)
            # The root magnifies rounding near 0: compare squares there.
            assert found[0][i, j] ** 2 == pytest.approx(expected[0] ** 2, abs=1e-5)
            assert found[1][i, j] == pytest.approx(expected[1], abs=1e-5)
            assert found[2][i, j] == pytest.approx(expected[2], abs=1e-5)
    assert all(matrix.dtype == dtype for matrix in found)


def test_evaluation_follows_the_protocol():
    eye = np.eye(4, dtype=np.float32)
    query, gallery = eye[:1], eye[[0, 0, 1, 0, 2]] * 0.7 + eye[[3]] * 0.3
    # Same camera (ignored), junk (ignored), stranger, match, distractor.
    scores = evaluate_histograms(
        query,
        np.array([5]),
        np.array([0]),
        gallery,
        np.array([5, -1, 7, 5, 0]),
        np.array([0, 1, 1, 1, 1]),
    )
    assert set(scores) == set(DISTANCES)
    for row in scores.values():
        assert row['mAP'] == row['R1'] == 100


def test_best_distance_comes_first():
    rng = np.random.default_rng(0)
    rows = rng.dirichlet(np.full(20, 0.3), 60).astype(np.float32)
    rows[30:] = 0.5 * rows[30:] + 0.5 * rows[:30]
    pids, zeros = np.arange(30), np.zeros(30, int)
    scores = evaluate_histograms(rows[:30], pids, zeros, rows[30:], pids, zeros + 1)
    found = [row['mAP'] for row in scores.values()]
    assert found == sorted(found, reverse=True)
    assert 3 < found[-1] <= 100


def test_command_line(tmp_path, capsys):
    layout = Layout(num_train_ids=1, num_test_ids=4, num_cameras=3, tracklet_length=3)
    root, out = tmp_path / 'set', tmp_path / 'scores.json'
    write_synthetic(root, layout, height=48, width=24, workers=1, progress=False)
    assert main([str(root), '--out', str(out)]) == 0
    text = capsys.readouterr().out
    report = json.loads(out.read_text())
    best = report['best']['distance']
    assert f'best: {best}, mAP {report["best"]["mAP"]:.1f}' in text
    assert report['best']['mAP'] == max(r['mAP'] for r in report['distances'].values())
    assert main([str(tmp_path / 'nowhere')]) == 2
    assert 'nowhere' in capsys.readouterr().err
    broken = next((root / 'query').iterdir())
    broken.write_bytes(b'no image')
    assert main([str(root)]) == 2
    assert broken.name in capsys.readouterr().err


def test_reads_what_opencv_reads(tmp_path):
    from tools.analysis.histogram_baseline import histogram_of_file

    image = np.random.default_rng(0).integers(0, 256, (12, 6, 3), np.uint8)
    cv2.imwrite(str(tmp_path / 'a.png'), image)
    np.testing.assert_array_equal(
        histogram_of_file(tmp_path / 'a.png'), hsv_stripe_histogram(image)
    )


def test_any_data_set(tmp_path, capsys):
    """A folder of own people, by itself and by a config."""
    rng = np.random.default_rng(0)
    for person in range(3):
        colour = rng.integers(0, 256, 3)
        for part, camera in (('query', 'a'), ('gallery', 'b')):
            folder = tmp_path / part / camera / f'person-{person}'
            folder.mkdir(parents=True)
            image = np.full((12, 6, 3), colour, np.uint8)
            cv2.imwrite(str(folder / '1.png'), image)
    options = ['--cfg-options', f'data_root={tmp_path}']
    for arguments in ([str(tmp_path)], ['gcl_folder', *options]):
        assert main([*arguments, '--json']) == 0
        found = json.loads(capsys.readouterr().out)
        assert found['queries'] == found['gallery'] == 3
        assert found['best']['mAP'] == pytest.approx(100)
    assert main([str(tmp_path), '--dataset', 'Market1502']) == 2
    assert 'Market1502' in capsys.readouterr().err
