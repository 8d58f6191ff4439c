# SPDX-License-Identifier: Apache-2.0
import statistics

import numpy as np
import pytest

from mmreid_gcl.visualization import sweep
from mmreid_gcl.visualization.sweep import mean_and_std

MAP = [[70.0, 72.0, 74.0], [76.0, 77.0, np.nan], [75.0, np.nan, np.nan]]


def main_line(axes):
    (container,) = axes.containers
    return container[0]


def test_mean_and_std_are_those_of_the_runs_there_are():
    mean, std = mean_and_std(np.array(MAP + [[np.nan] * 3]))
    assert mean[:3].tolist() == [72, 76.5, 75]
    assert std[0] == pytest.approx(statistics.stdev([70, 72, 74]))
    assert std[1] == pytest.approx(statistics.stdev([76, 77]))
    assert np.isnan(std[2:]).all() and np.isnan(mean[3])


def test_lines_bars_and_order():
    figure = sweep(
        [16, 8, 4], {'mAP (%)': MAP, 'R1 (%)': [80.0, 81.0, 82.0]}, 'B', chosen=16
    )
    upper, lower = figure.axes
    assert main_line(upper).get_xdata().tolist() == [4, 8, 16]
    assert main_line(upper).get_ydata().tolist() == [75, 76.5, 72]
    assert main_line(lower).get_ydata().tolist() == [82, 81, 80]
    (bars,) = upper.containers[0][2]
    heights = [seg[1, 1] - seg[0, 1] for seg in bars.get_segments()]
    expected = [0, 2 * statistics.stdev([76, 77]), 2 * statistics.stdev([70, 72, 74])]
    assert heights == pytest.approx(expected)
    assert (upper.get_ylabel(), lower.get_ylabel()) == ('mAP (%)', 'R1 (%)')
    assert [t.get_text() for t in lower.get_xticklabels()] == ['4', '8', '16']
    assert lower.get_xlabel() == 'B'
    assert 'the config has 16' in figure.texts[-1].get_text()


def test_metrics_have_the_same_scale():
    figure = sweep([1, 2], {'mAP': [10.0, 60.0], 'R1': [80.0, 80.2]}, 'x')
    spans = [np.ptp(a.get_ylim()) for a in figure.axes]
    assert spans[0] == pytest.approx(spans[1])
    figure = sweep([1, 2], {'mAP': [80.0, 80.01]}, 'x')
    assert np.ptp(figure.axes[0].get_ylim()) == pytest.approx(1)


@pytest.mark.parametrize(
    'values, scale', [([2, 16], 'log'), ([0.4, 0.7], 'linear'), ([0, 8], 'linear')]
)
def test_scale_of_x_is_said(values, scale):
    (axes,) = sweep(values, {'mAP': [1.0, 2.0]}, 'x').axes
    assert axes.get_xscale() == scale
    assert ('log' in axes.get_xlabel()) == (scale == 'log')


def test_reference_is_drawn_in_the_same_order():
    (axes,) = sweep([3, 1, 2], {'m': [1.0, 2, 3]}, 'x', {'m': [30.0, 10, np.nan]}).axes
    (line,) = [n for n in axes.lines if n.get_marker() == 'D']
    np.testing.assert_array_equal(line.get_xdata(), [1, 2, 3])
    np.testing.assert_array_equal(line.get_ydata(), [10, np.nan, 30])


@pytest.mark.parametrize(
    'values, scores, reference, words',
    [
        ([], {'m': []}, None, 'at least one value'),
        ([1], {}, None, 'one metric'),
        ([1, 1], {'m': [1, 2]}, None, 'all different'),
        ([1, np.nan], {'m': [1, 2]}, None, 'finite'),
        ([1, 2], {'m': [1, 2, 3]}, None, r'm has the shape \(3,\).*\(2, seeds\)'),
        ([1, 2], {'m': [np.nan, np.nan]}, None, 'm has no result'),
        ([1, 2], {'m': [1, 2]}, {'m': [1]}, 'reference.*1 numbers for 2'),
    ],
)
def test_bad_input_is_named(values, scores, reference, words):
    with pytest.raises(ValueError, match=words):
        sweep(values, scores, 'x', reference)
