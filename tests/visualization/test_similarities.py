# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from mmreid_gcl.visualization import figure_to_image, similarity_distributions


def make_pairs(count=4000, seed=0):
    rng = np.random.default_rng(seed)
    same, across = rng.random((2, count)) < [[0.1], [0.7]]
    return rng.normal(np.where(same, 0.6, 0.1), 0.12), same, across


def test_both_parts_with_the_threshold():
    figure = similarity_distributions(*make_pairs(), 0.4, (0.37, 0.43), 'Title', 'note')
    assert len(figure.axes) == 2
    similarity, same, across = make_pairs()
    for axes, rows in zip(figure.axes, (across, ~across)):
        own = f'{(same & rows).sum():,} pairs of one person'
        assert own in axes.get_title(loc='left')
        assert [line.get_xdata()[0] for line in axes.lines] == [0.4]
        filled = [patch for patch in axes.patches if hasattr(patch, 'get_data')]
        for patch, kind in zip(filled[::2], (same & rows, ~same & rows)):
            values, edges, _ = patch.get_data()
            assert np.sum(values * np.diff(edges)) == pytest.approx(1)
            expected = np.mean(similarity[kind] < edges[40])
            assert np.sum((values * np.diff(edges))[:40]) == pytest.approx(expected)
    assert figure_to_image(figure).std() > 10


def test_one_part_alone():
    similarity, same, _ = make_pairs()
    everywhere = np.ones(len(same), bool)
    figure = similarity_distributions(similarity, same, everywhere)
    assert len(figure.axes) == 1 and not figure.axes[0].lines
    assert similarity_distributions([0.5, 0.5], [True] * 2, [False] * 2).axes


def test_lengths():
    with pytest.raises(ValueError, match='at least one; got 0'):
        similarity_distributions([], [], [])
    with pytest.raises(ValueError, match='got 2, 1 and 2'):
        similarity_distributions([0, 1], [True], [True, True])
