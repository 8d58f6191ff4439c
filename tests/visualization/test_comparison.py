# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from mmreid_gcl.visualization import comparison

RUNS = {
    'untrained': {'mAP': 5.25, 'R1': 10},
    'histogram': {'mAP': 20.0},
    'trained': {'mAP': [60.0, 62.0, np.nan], 'R1': [80, 82, 84]},
}


def test_bars_are_the_numbers_from_zero():
    (axes,) = comparison(RUNS, title='t', note='n').axes
    widths = [bar.get_width() for bar in axes.patches]
    assert widths == [5.25, 10, 20, 61, 82]
    assert all(bar.get_x() == 0 for bar in axes.patches)
    assert axes.get_xlim() == (0, 100)
    # runs from above, each beside its name
    centres = [bar.get_y() + bar.get_height() / 2 for bar in axes.patches]
    assert centres == sorted(centres)
    assert axes.get_ylim()[0] > axes.get_ylim()[1]
    names = [t.get_text() for t in axes.get_yticklabels()]
    assert names == list(RUNS)
    assert axes.get_yticks()[0] == pytest.approx((centres[0] + centres[1]) / 2)
    words = [t.get_text() for t in axes.texts]
    assert words == ['5.2', '10.0', '20.0', '61.0 ± 1.4', '82.0 ± 2.0']


def test_metrics_differ_in_colour_and_hatch():
    (axes,) = comparison(RUNS).axes
    first, second = axes.patches[:2]
    assert first.get_facecolor() != second.get_facecolor()
    assert first.get_hatch() != second.get_hatch()
    assert [t.get_text() for t in axes.get_legend().get_texts()] == ['mAP', 'R1']


def test_words_stay_inside_at_one_hundred_percent():
    figure = comparison({'a' * 50: {'mAP': [100, 99]}, 'b $x$': {'mAP': 100}})
    figure.canvas.draw()
    width = figure.canvas.get_width_height()[0]
    for text in figure.axes[0].texts + figure.axes[0].get_yticklabels():
        box = text.get_window_extent()
        assert box.x0 >= 0 and box.x1 <= width


@pytest.mark.parametrize(
    'runs, metrics, words',
    [
        ({}, ('mAP',), 'at least one run'),
        (RUNS, (), 'one metric'),
        (RUNS, ('mINP',), r"untrained.*\['mINP'\]"),
        ({'a': {'mAP': 101}}, ('mAP',), "mAP of 'a' is 101"),
        ({'a': {'mAP': -1}}, ('mAP',), '0 to 100'),
    ],
)
def test_bad_input_is_named(runs, metrics, words):
    with pytest.raises(ValueError, match=words):
        comparison(runs, metrics)
