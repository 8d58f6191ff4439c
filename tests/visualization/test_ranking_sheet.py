# SPDX-License-Identifier: Apache-2.0
import sys

import numpy as np
import pytest
from matplotlib.colors import to_hex

from mmreid_gcl.visualization import ranking_sheet

from .fake import by_gid, image, texts


def make(**kwargs):
    arguments = dict(
        queries=[image(10), image(20)],
        galleries=[[image(30), image(40), image(50)], [image(60), image(70)]],
        matches=[[True, False, None], [np.True_, np.False_]],
        scores=[[0.9, 0.8, 0.7], [0.65, 0.55]],
        query_cameras=[1, 2],
        gallery_cameras=[[3, 4, 5], [6, 1]],
    )
    arguments.update(kwargs)
    return ranking_sheet(**arguments)


def test_images_come_row_by_row_query_first():
    (axes,) = make().axes
    shown = [int(shot.get_array()[1, 0, 0]) for shot in axes.images]
    assert shown == [10, 30, 40, 50, 20, 60, 70]


def test_frames_tell_right_from_wrong_by_colour_and_by_style():
    frames = by_gid(make(), 'frame-')
    assert sorted(frames) == [
        'frame-0-1',
        'frame-0-2',
        'frame-0-3',
        'frame-1-1',
        'frame-1-2',
    ]
    looks = {
        k: (to_hex(f.get_edgecolor()), f.get_linestyle()) for k, f in frames.items()
    }
    right, wrong, unknown = (looks[f'frame-0-{i}'] for i in (1, 2, 3))
    assert looks['frame-1-1'] == right
    assert looks['frame-1-2'] == wrong
    assert len({right[0], wrong[0], unknown[0]}) == 3
    red, green, _ = np.array([int(right[0][i : i + 2], 16) for i in (1, 3, 5)])
    assert green > 2 * red
    red, green, _ = np.array([int(wrong[0][i : i + 2], 16) for i in (1, 3, 5)])
    assert red > 2 * green
    styles = {
        f.get_edgecolor(): str(f._unscaled_dash_pattern)
        for f in (frames['frame-0-1'], frames['frame-0-2'], frames['frame-0-3'])
    }
    assert len(set(styles.values())) == 3


def test_marks_cameras_scores_and_legend_are_written():
    written = texts(make(query_titles=['AP 71 %', 'AP 9 %'], title='A sheet'))
    for expected in (
        'A sheet',
        '✓ cam 3',
        '✗ cam 4',
        'cam 5',
        '✓ cam 6',
        '✗ cam 1',
        '0.900',
        '0.550',
        'cam 1\nAP 71 %',
        'cam 2\nAP 9 %',
        '✓ same person',
        '✗ another person',
        'not known',
    ):
        assert written.count(expected) == 1, expected


def test_legend_leaves_out_what_is_not_there():
    written = texts(make(matches=[[True, True, True], [True, True]]))
    assert '✓ same person' in written
    assert '✗ another person' not in written
    assert not by_gid(make(matches=None), 'legend')  # of nobody it is known


def test_dollars_are_no_mathematics():
    figure = make(title=r'a$\frac{$')
    figure.canvas.draw()
    assert r'a$\frac{$' in texts(figure)


def test_all_is_inside_and_nothing_overlaps():
    figure = make(
        title='a heading of many words ' * 8, query_titles=['pid 1501', 'pid 7']
    )
    figure.canvas.draw()
    renderer = figure.canvas.get_renderer()
    width, height = figure.canvas.get_width_height()
    boxes = []
    for text in figure.axes[0].texts:
        if text.get_text():
            box = text.get_window_extent(renderer)
            assert box.x0 >= 0 and box.y0 >= 0
            assert box.x1 <= width and box.y1 <= height, text.get_text()
            boxes.append((box, text.get_text()))
    pictures = [
        (shot.get_window_extent(renderer), 'image') for shot in figure.axes[0].images
    ]
    for i, (box, name) in enumerate(boxes):
        for other, its_name in boxes[i + 1 :] + pictures:
            assert not box.overlaps(other), (name, its_name)


def test_sizes_may_differ_grey_is_shown_and_rows_may_be_empty():
    figure = ranking_sheet(
        [image(height=64, width=32), np.zeros((8, 8), np.uint8)],
        [[image(height=10, width=40)], []],
    )
    figure.canvas.draw()
    (axes,) = figure.axes
    for shot in axes.images:
        left, right, bottom, top = shot.get_extent()
        h, w = shot.get_array().shape[:2]
        assert (right - left) / (bottom - top) == pytest.approx(w / h)


def test_nobody_stands_beside_the_query_that_found_none():
    shots = [image(height=64, width=32)] * 3
    figure = ranking_sheet(shots, [shots[:2], [], shots], nobody='nobody here')
    figure.canvas.draw()
    (axes,) = figure.axes
    (text,) = [t for t in axes.texts if t.get_text() == 'nobody here']
    _, right, bottom, top = axes.images[3].get_extent()  # the second query
    assert text.get_position()[0] > right
    assert min(bottom, top) < text.get_position()[1] < max(bottom, top)


def test_pyplot_is_not_touched():
    make()
    module = sys.modules.get('matplotlib.pyplot')
    assert module is None or not module.get_fignums()


@pytest.mark.parametrize(
    'change, error, words',
    [
        (dict(queries=[], galleries=[]), ValueError, 'no query'),
        (dict(galleries=[[image()]]), ValueError, 'galleries has 1 entries for 2'),
        (dict(matches=[[True], [True]]), ValueError, r'matches\[0\] has 1 entries'),
        (dict(scores=[[0.1] * 3]), ValueError, 'scores has 1 entries'),
        (dict(query_cameras=[1]), ValueError, 'query_cameras'),
        (dict(gallery_cameras=[[1, 2, 3], [1]]), ValueError, r'gallery_cameras\[1\]'),
        (dict(queries=[image(), image() / 255.0]), TypeError, r'queries\[1\].*uint8'),
        (
            dict(galleries=[[image()] * 3, [image(), np.zeros((3, 4, 4), np.uint8)]]),
            ValueError,
            r'galleries\[1\]\[1\].*\(3, 4, 4\)',
        ),
    ],
)
def test_bad_input_is_named(change, error, words):
    with pytest.raises(error, match=words):
        make(**change)
