# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
from matplotlib.colors import to_hex

from mmreid_gcl.visualization import attention_map

from .fake import by_gid, image, texts


def scores(size=4, seed=0):
    m = np.random.default_rng(seed).random((size, size))
    return m / m.sum(axis=1, keepdims=True)


def test_heat_map_is_the_attention_on_a_scale_from_zero():
    m = scores()
    _, heat, bar = attention_map(m).axes
    (shown,) = heat.images
    np.testing.assert_array_equal(shown.get_array(), m)
    assert shown.get_clim() == (0, m.max())
    assert [t.get_text() for t in heat.get_xticklabels()] == ['1', '2', '3', '4']
    assert [t.get_text() for t in heat.get_yticklabels()] == ['1', '2', '3', '4']
    marked = [line.get_ydata()[0] for line in bar.lines]
    assert 1 / 4 in marked


def test_row_i_is_above_row_i_plus_1():
    _, heat, _ = attention_map(scores()).axes
    bottom, top = heat.get_ylim()
    assert bottom > top


def test_both_axes_have_thumbnails_identities_and_cameras():
    figure = attention_map(
        scores(3), [image(40), image(80), image(120)], [7, 1501, 7], [1, 2, 3], 'words'
    )
    sheet = figure.axes[0]
    values = [int(shot.get_array()[1, 0, 0]) for shot in sheet.images]
    assert sorted(values) == [40, 40, 80, 80, 120, 120]
    across, down = by_gid(figure, 'column-'), by_gid(figure, 'row-')
    for strips in (across, down):
        colors = [to_hex(p.get_facecolor()) for _, p in sorted(strips.items())]
        assert colors[0] == colors[2] != colors[1]
    written = texts(figure)
    assert written.count('7') == 4 and written.count('1501') == 2
    assert written.count('cam 2') == 2
    # strips stand beside their rows and columns of the heat map
    figure.canvas.draw()
    heat = figure.axes[1]
    for i in range(3):
        x, y = heat.transData.transform((i, i))
        column = across[f'column-{i}'].get_window_extent()
        row = down[f'row-{i}'].get_window_extent()
        assert (column.x0 + column.x1) / 2 == pytest.approx(x, abs=1)
        assert (row.y0 + row.y1) / 2 == pytest.approx(y, abs=1)


def test_a_common_scale_can_be_given_and_uniform_beyond_it_is_not_marked():
    _, heat, bar = attention_map(scores(), vmax=0.9).axes
    assert heat.images[0].get_clim() == (0, 0.9)
    _, heat, bar = attention_map(scores(), vmax=0.1).axes
    assert not bar.lines


@pytest.mark.parametrize('size', [1, 2, 40])
def test_sizes(size):
    attention_map(scores(size), cell=0.2 if size > 20 else 0.44).canvas.draw()


@pytest.mark.parametrize(
    'attention, kwargs, words',
    [
        (np.ones((2, 3)), {}, r'\(2, 3\)'),
        (np.ones((0, 0)), {}, 'no node'),
        (np.ones((1, 2, 2)), {}, r'\(1, 2, 2\)'),
        (np.array([[np.nan]]), {}, 'finite'),
        (-np.ones((2, 2)), {}, 'negative'),
        (np.ones((2, 2)), dict(pids=[1]), 'pids has 1 entries.*2 nodes'),
        (np.ones((2, 2)), dict(images=[image()] * 3), 'images has 3'),
        (np.ones((2, 2)), dict(camids=[]), 'camids has 0'),
    ],
)
def test_bad_input_is_named(attention, kwargs, words):
    with pytest.raises(ValueError, match=words):
        attention_map(attention, **kwargs)
