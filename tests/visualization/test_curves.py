# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from mmreid_gcl.visualization import training_curves

KINDS = ('precision', 'recall', 'unrefined_precision', 'unrefined_recall')


def run(offset=0.0):
    return {
        'pseudo_labels/clusters': ([1, 2, 3], [10 + offset, 12, 11]),
        'pseudo_labels/ari': ([1, 2, 3], [-0.1, 0.5, np.nan]),
        'pseudo_labels/unrefined_ari': ([1, 2, 3], [0.2, 0.3, 0.4]),
        'reid/mAP': ([2], [40.0 + offset]),
        'reid/R1': ([2], [60.0]),
        'loss': ([10, 20, 30], [3.0, 2.0, 1.0]),
        'lr': ([10, 20, 30], [1e-3, 1e-3, 1e-4]),
        'something_else': ([1], [1]),
    }


def panel(figure, begin):
    (found,) = [a for a in figure.axes if a.get_title(loc='left').startswith(begin)]
    return found


def test_only_panels_with_data_and_the_lines_are_the_input():
    figure = training_curves({'a': run()})
    titles = [a.get_title(loc='left') for a in figure.axes]
    assert len(titles) == 5
    assert not any(t.startswith(('Outliers', 'Stability', 'Pairs')) for t in titles)
    ari, unrefined = panel(figure, 'Pseudo-labels').lines
    assert ari.get_label() == 'ARI' and unrefined.get_label() == 'ARI, unrefined'
    np.testing.assert_array_equal(ari.get_xdata(), [1, 2, 3])
    np.testing.assert_array_equal(ari.get_ydata(), [-0.1, 0.5, np.nan])
    np.testing.assert_array_equal(unrefined.get_ydata(), [0.2, 0.3, 0.4])
    assert ari.get_color() != unrefined.get_color()
    assert ari.get_linestyle() != unrefined.get_linestyle()
    legend = panel(figure, 'Pseudo-labels').get_legend()
    assert [t.get_text() for t in legend.get_texts()] == ['ARI', 'ARI, unrefined']


def test_axes_are_honest():
    figure = training_curves({'a': run()})
    low, high = panel(figure, 'Clusters').get_ylim()
    assert -0.03 * high < low <= 0  # the axis is there, and marks on it are whole
    low, high = panel(figure, 'Retrieval').get_ylim()
    assert low <= 0 and high >= 100
    low, high = panel(figure, 'Pseudo-labels').get_ylim()
    assert low < -0.1 and high >= 1
    assert -0.1 < panel(figure, 'Loss').get_ylim()[0] <= 0
    rate = panel(figure, 'Learning rate')
    assert rate.get_yscale() == 'log' and 'log' in rate.get_title(loc='left')
    assert [t.get_text() for t in rate.get_yticklabels()] == ['1e-4', '1e-3']


def test_a_learning_rate_of_many_values_has_ticks_at_1_2_and_5():
    rates = np.geomspace(1e-6, 3.5e-4, 50)
    figure = training_curves({'a': {'lr': (np.arange(50), rates)}})
    words = figure.axes[0].yaxis.get_major_formatter()
    assert [words(t, 0) for t in (1e-4, 2e-4, 3e-4, 5e-5)] == [
        '1e-4', '2e-4', '', '5e-5',
    ]  # fmt: skip
    steps = {'lr': ([1, 2], [3.5e-4, 3.5e-5])}
    axes = training_curves({'a': steps}).axes[0]
    assert [t.get_text() for t in axes.get_yticklabels()] == ['3.5e-5', '3.5e-4']


def test_iterations_become_epochs_where_their_number_is_known():
    figure = training_curves({'a': run()}, {'a': 10})
    (line,) = panel(figure, 'Loss').lines
    np.testing.assert_array_equal(line.get_xdata(), [1, 2, 3])
    assert panel(figure, 'Loss').get_xlabel() == 'epoch'
    for lengths in (None, {'a': 10}, {'a': 10, 'b': None}):
        figure = training_curves({'a': run(), 'b': run()}, lengths)
        axes = panel(figure, 'Loss')
        assert axes.get_xlabel() == 'iteration'
        np.testing.assert_array_equal(axes.lines[0].get_xdata(), [10, 20, 30])


def test_several_runs_have_colours_and_quantities_styles():
    figure = training_curves({'first': run(), 'second': run(5)}, title='both')
    lines = panel(figure, 'Retrieval').lines
    assert [line.get_label() for line in lines] == [
        'first: mAP',
        'first: R1',
        'second: mAP',
        'second: R1',
    ]
    colors = [line.get_color() for line in lines]
    assert colors[0] == colors[1] != colors[2] == colors[3]
    styles = [line.get_linestyle() for line in lines]
    assert styles[0] == styles[2] != styles[1] == styles[3]
    assert lines[2].get_ydata().tolist() == [45.0]
    (legend,) = figure.legends
    assert [t.get_text() for t in legend.get_texts()] == ['first', 'second']
    assert figure.texts[0].get_text() == 'both'


def test_single_points_are_told_apart_without_colour():
    axes = panel(training_curves({'a': run()}), 'Retrieval')
    marks = [line.get_marker() for line in axes.lines]
    assert len(set(marks)) == 2
    assert [h.get_marker() for h in axes.get_legend().get_lines()] == marks


def test_of_many_runs_the_first_quantity_is_shown():
    runs = {
        f'r{n}': run() | {f'pseudo_labels/{k}': ([1, 2], [0.5, 0.6]) for k in KINDS}
        for n in range(5)
    }
    figure = training_curves(runs)
    assert [line.get_label() for line in panel(figure, 'Retrieval').lines] == [
        f'{name}: mAP' for name in runs
    ]
    legend = panel(figure, 'Retrieval').get_legend()
    assert [t.get_text() for t in legend.get_texts()] == ['mAP']
    assert panel(figure, 'Clusters').get_legend() is None  # the title says it
    # precision without recall would mislead
    legend = panel(figure, 'Pairs').get_legend()
    assert [t.get_text() for t in legend.get_texts()] == ['precision', 'recall']


def test_a_run_that_lacks_a_quantity_does_not_shift_the_styles():
    second = run()
    del second['reid/mAP']
    lines = panel(training_curves({'a': run(), 'b': second}), 'Retrieval').lines
    style = {line.get_label(): line.get_linestyle() for line in lines}
    assert style['a: R1'] == style['b: R1'] != style['a: mAP']


def test_all_nan_is_drawn_as_nothing():
    figure = training_curves({'a': {'loss': ([1, 2], [np.nan, np.inf])}})
    figure.canvas.draw()


@pytest.mark.parametrize(
    'runs, words',
    [
        ({}, 'no run'),
        ({'a': {}}, "'a'.*no scalar at all"),
        ({'a': {'x': ([1], [1])}}, "'a' has none of.*x"),
        ({'a': {'loss': ([1, 2], [1])}}, "'a', loss: 2 steps, but 1 values"),
    ],
)
def test_bad_input_is_named(runs, words):
    with pytest.raises(ValueError, match=words):
        training_curves(runs)


def test_signs_without_identities_have_curves_and_room():
    names = ('stability', 'cross_camera_images', 'silhouette', 'label_free_score')
    series = {
        f'pseudo_labels/{n}': ([1, 2], [0.1, 0.2 + i]) for i, n in enumerate(names)
    }
    series['pseudo_labels/clusters'] = ([1, 2], [30, 20])
    series['pseudo_labels/cross_camera_clusters'] = ([1, 2], [6, 9])
    figure = training_curves({'a': series})
    signs = panel(figure, 'Signs')
    for i, line in enumerate(signs.lines):
        np.testing.assert_array_equal(line.get_ydata(), [0.1, 0.2 + i])
    assert len(signs.lines) == 4
    _, across = panel(figure, 'Clusters').lines
    np.testing.assert_array_equal(across.get_ydata(), [6, 9])
    figure.canvas.draw()
    for axes in figure.axes:  # a legend that is too wide makes all panels narrow
        assert axes.get_legend().get_window_extent().x1 <= figure.bbox.x1
        assert axes.get_window_extent().width > 400
