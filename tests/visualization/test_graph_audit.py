# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from mmreid_gcl.visualization.graph_audit import AuditPanel, graph_audit
from mmreid_gcl.visualization.palette import color_at

NAMES = ['file name', 'random', 'mutual']
PANELS = [
    AuditPanel('same person, %', [90.0, 5.0, 40.0], [5.0, 5.0, np.nan], 100),
    AuditPanel('ARI', [0.5, np.nan, 0.25], [0.3] * 3, 1, 3),
]


def test_bars_and_marks():
    figure = graph_audit(NAMES, PANELS, [True, False, False], title='T', note='n')
    first, second = figure.axes
    assert [bar.get_width() for bar in first.patches] == [90, 5, 40]
    assert [bar.get_width() for bar in second.patches] == [0.5, 0.25]
    assert first.get_xlim() == (0, 100) and second.get_xlim() == (0, 1)
    assert [list(line.get_xdata()) for line in first.lines] == [[5, 5], [5, 5]]
    assert len(second.lines) == 3
    assert [t.get_text() for t in first.texts] == ['90.0', '5.0', '40.0']
    assert [t.get_text() for t in second.texts] == ['0.500', '–', '0.250']
    names = [t.get_text() for t in first.get_yticklabels()]
    assert names == NAMES and first.get_ylim()[0] > first.get_ylim()[1]
    faces = [bar.get_facecolor() for bar in first.patches]
    assert faces[0] != faces[1] == faces[2]
    (legend,) = figure.legends
    words = [t.get_text() for t in legend.get_texts()]
    assert words == ['sees identities', 'without identities', 'chance']


def test_nothing_overlaps():
    figure = graph_audit(
        ['a name that is long enough for two lines', *NAMES],
        [
            AuditPanel(
                'a heading of some length, in words', [100, 99, 1, 0], [1] * 4, 100
            )
        ]
        * 3,
        [True, False, False, False],
        title='A title that says what the figure is about',
        note='A note. ' * 20,
    )
    figure.canvas.draw()
    boxes = [t.get_window_extent() for t in figure.texts if t.get_text()]
    boxes += [t.get_window_extent() for t in figure.axes[0].get_yticklabels()]
    boxes += [legend.get_window_extent() for legend in figure.legends]
    boxes += [t.get_window_extent() for axes in figure.axes for t in axes.texts]
    for n, a in enumerate(boxes):
        assert a.x0 >= 0 and a.x1 <= figure.bbox.x1 and a.y0 >= 0
        assert not any(a.overlaps(b) for b in boxes[:n])


def test_no_mark_strikes_a_number_through():
    panel = AuditPanel('ARI', [0.87, 1.0, 0.1], [0.79, 0.2, 0.95], 1, 3)
    figure = graph_audit(NAMES, [panel, panel])
    figure.canvas.draw()
    for axes in figure.axes:
        for words, line in zip(axes.texts, axes.lines):
            ends = axes.transData.transform(line.get_xydata())[:, 0]
            assert words.get_window_extent().x0 > ends.max()
    _, second = (axes.get_window_extent() for axes in figure.axes)
    for words in figure.axes[0].texts:
        assert words.get_window_extent().x1 < second.x0
    assert figure.axes[1].texts[1].get_window_extent().x1 < figure.bbox.x1


def test_wrong_input_is_named():
    with pytest.raises(ValueError, match='at least one'):
        graph_audit([], [])
    with pytest.raises(ValueError, match='2 values of leaking'):
        graph_audit(NAMES, PANELS, [True, False])
    with pytest.raises(ValueError, match="'x' has 1 values and 3 marks for 3"):
        graph_audit(NAMES, [AuditPanel('x', [1], [1, 1, 1], 2)])
    with pytest.raises(ValueError, match="'x' has values outside 0 to 1"):
        graph_audit(NAMES, [AuditPanel('x', [1, 2, 0], [0, 0, 0], 1)])


def test_colours_are_those_of_the_palette():
    figure = graph_audit(NAMES, PANELS)
    red, green, blue, _ = figure.axes[0].patches[0].get_facecolor()
    code = ''.join(f'{round(255 * part):02x}' for part in (red, green, blue))
    assert f'#{code}' == color_at(0)
    assert len(figure.legends[0].get_texts()) == 2
