# SPDX-License-Identifier: Apache-2.0
import base64
import threading

import numpy as np
import pytest

from mmreid_gcl.visualization import figure_to_data_uri, figure_to_image, save_figure
from mmreid_gcl.visualization.canvas import new_figure


@pytest.mark.parametrize('size', [(2.0, 1.0), (2.345, 1.119), (1.999, 3.001)])
@pytest.mark.parametrize('dpi', [50, 73])
def test_pixels_are_those_of_the_figure(size, dpi):
    figure = new_figure(*size)
    figure.add_axes((0, 0, 0.5, 1), facecolor='red').set(xticks=[], yticks=[])
    pixels = figure_to_image(figure, dpi)
    assert pixels.dtype == np.uint8
    assert abs(pixels.shape[0] - size[1] * dpi) <= 1
    assert abs(pixels.shape[1] - size[0] * dpi) <= 1
    middle = pixels.shape[0] // 2
    assert pixels[middle, pixels.shape[1] // 4].tolist() == [255, 0, 0]
    assert pixels[middle, 3 * pixels.shape[1] // 4].tolist() == [255, 255, 255]


def test_save_makes_the_folder_and_names_a_bad_ending(tmp_path):
    path = save_figure(new_figure(1, 1), tmp_path / 'a' / 'b.png', dpi=50)
    assert path.read_bytes().startswith(b'\x89PNG')
    with pytest.raises(ValueError, match=r'c\.xyz.*png'):
        save_figure(new_figure(1, 1), tmp_path / 'c.xyz')
    with pytest.raises(ValueError, match='ending'):
        save_figure(new_figure(1, 1), tmp_path / 'c')


def test_data_uri_holds_a_png():
    head, _, body = figure_to_data_uri(new_figure(1, 1), dpi=20).partition(',')
    assert head == 'data:image/png;base64'
    assert base64.b64decode(body).startswith(b'\x89PNG')


def test_threads_do_not_disturb_each_other():
    results = {}

    def work(value):
        figure = new_figure(1, 1)
        figure.add_axes((0, 0, 1, 1)).imshow(
            np.full((2, 2), value / 4), vmin=0, vmax=1, cmap='gray', aspect='auto'
        )
        results[value] = figure_to_image(figure, 40)[20, 20, 0]

    threads = [threading.Thread(target=work, args=(v,)) for v in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [abs(int(results[v]) - round(v / 4 * 255)) <= 1 for v in range(5)] == [
        True
    ] * 5
