# SPDX-License-Identifier: Apache-2.0
import json

import numpy as np
import pytest

from mmreid_gcl.visualization import read_scalars
from mmreid_gcl.work_dir import note_start


def train(epoch, step, loss):
    return dict(lr=0.1, loss=loss, time=0.5, epoch=epoch, iter=step, step=step)


def labels(epoch, clusters):
    return {'pseudo_labels/clusters': clusters, 'pseudo_labels/ari': 0.5, 'step': epoch}


def val(epoch, value):
    return {'reid/mAP': value, 'data_time': 0.1, 'time': 0.2, 'step': epoch}


def write(work_dir, stamp, *lines, tail=''):
    folder = work_dir / stamp / 'vis_data'
    folder.mkdir(parents=True)
    text = ''.join(json.dumps(line) + '\n' for line in lines)
    (folder / 'scalars.json').write_text(text + tail)
    return folder / 'scalars.json'


def points(series):
    steps, values = series
    return list(zip(steps.tolist(), values.tolist()))


def test_a_run(tmp_path):
    path = write(
        tmp_path,
        '20260101_000000',
        labels(1, 10),
        train(1, 5, 3.0),
        train(1, 10, 2.0),
        labels(2, 12),
        train(2, 15, 1.5),
        train(2, 20, 1.0),
        val(2, 40.0),
    )
    got = read_scalars(tmp_path)
    assert points(got.series['pseudo_labels/clusters']) == [(1, 10), (2, 12)]
    assert points(got.series['loss']) == [(5, 3), (10, 2), (15, 1.5), (20, 1)]
    assert points(got.series['reid/mAP']) == [(2, 40)]
    # the times of training and validation are kept apart
    assert points(got.series['time']) == [(5, 0.5), (10, 0.5), (15, 0.5), (20, 0.5)]
    assert points(got.series['val/time']) == [(2, 0.2)]
    assert not {'step', 'epoch', 'iter'} & set(got.series)
    assert got.iters_per_epoch == 10
    assert got.files == [path]
    assert points(read_scalars(path).series['reid/mAP']) == [(2, 40)]


def test_a_resumed_run_replaces_what_it_computes_again(tmp_path):
    # written in the other order: folders count by their names
    write(
        tmp_path,
        '20260102_000000',
        labels(2, 22),
        train(2, 20, 1.1),
        labels(3, 33),
        train(3, 30, 0.9),
        val(3, 50.0),
    )
    write(
        tmp_path,
        '20260101_000000',
        labels(1, 10),
        train(1, 10, 2.0),
        val(1, 30.0),
        labels(2, 12),
        train(2, 20, 1.0),
        val(2, 40.0),
        labels(3, 13),
    )
    got = read_scalars(tmp_path).series
    assert points(got['pseudo_labels/clusters']) == [(1, 10), (2, 22), (3, 33)]
    assert points(got['loss']) == [(10, 2), (20, 1.1), (30, 0.9)]
    # the first run's validation of epoch 2 is of weights that are gone
    assert points(got['reid/mAP']) == [(1, 30), (3, 50)]


def test_an_epoch_resumed_inside_keeps_its_labels(tmp_path):
    write(
        tmp_path,
        'a',
        labels(1, 10),
        train(1, 10, 2.0),
        labels(2, 12),
        train(2, 15, 1.0),
        train(2, 20, 0.9),
        val(2, 40.0),
        labels(3, 13),
        train(3, 25, 0.8),
    )
    write(tmp_path, 'b', train(2, 20, 0.7), val(2, 50.0), labels(3, 33))
    write(tmp_path, 'c', train(3, 30, 0.6))
    got = read_scalars(tmp_path).series
    assert points(got['pseudo_labels/clusters']) == [(1, 10), (2, 12), (3, 33)]
    assert points(got['pseudo_labels/ari']) == [(1, 0.5), (2, 0.5), (3, 0.5)]
    assert points(got['reid/mAP']) == [(2, 50)]
    assert points(got['loss']) == [(10, 2), (15, 1), (20, 0.7), (30, 0.6)]


def three_starts():
    """Of a run of 10 iterations an epoch, killed after 17 and after 33."""
    return (
        [labels(1, 1), train(1, 5, 0.05), train(1, 10, 0.1), labels(2, 2)]
        + [train(2, 15, 0.15)],
        [labels(2, 22), train(2, 15, 1.5), train(2, 20, 2.0), labels(3, 23)]
        + [train(3, 25, 2.5), train(3, 30, 3.0), labels(4, 24)],
        [labels(4, 34), train(4, 35, 13.5), train(4, 40, 14.0), val(4, 50.0)],
    )


@pytest.mark.parametrize('order', ['abc', 'acb', 'bac', 'bca', 'cab', 'cba'])
def test_a_clock_that_goes_back(tmp_path, order):
    for name, lines in zip(order, three_starts()):
        write(tmp_path, name, *lines)
    found = read_scalars(tmp_path)
    assert [path.parts[-3] for path in found.files] == list(order)
    got = found.series
    expected = [(1, 1), (2, 22), (3, 23), (4, 34)]
    assert points(got['pseudo_labels/clusters']) == expected
    assert points(got['loss']) == [
        *[(5, 0.05), (10, 0.1), (15, 1.5), (20, 2), (25, 2.5)],
        *[(30, 3), (35, 13.5), (40, 14)],
    ]
    assert points(got['reid/mAP']) == [(4, 50)]


@pytest.mark.parametrize('order', ['abc', 'acb', 'bac', 'bca', 'cab', 'cba'])
def test_a_clock_that_goes_back_inside_an_epoch(tmp_path, order):
    for i, name in enumerate(order):
        begin = [labels(1, 7)] if i == 0 else []
        lines = [train(1, 100 * i + s, i) for s in range(10, 101, 10)]
        write(tmp_path, name, *begin, *lines)
    got = read_scalars(tmp_path).series
    assert points(got['pseudo_labels/clusters']) == [(1, 7)]
    assert points(got['loss']) == [(s, (s - 1) // 100) for s in range(10, 301, 10)]


def test_a_fresh_run_after_one_of_several_starts(tmp_path):
    first, second, _ = three_starts()
    write(tmp_path, 'a', *first)
    write(tmp_path, 'b', *second)
    write(tmp_path, 'c', labels(1, 70), train(1, 5, 7.0))
    got = read_scalars(tmp_path).series
    assert points(got['pseudo_labels/clusters']) == [(1, 70)]
    assert points(got['loss']) == [(5, 7)]


def test_the_list_of_starts_goes_before_names(tmp_path):
    """Two of one epoch, and a run begun anew: what they trained does not tell."""
    write(tmp_path, 'c', labels(1, 1), train(1, 10, 1.0), labels(2, 2))
    write(tmp_path, 'b', labels(1, 3), train(1, 10, 2.0), train(1, 20, 2.0))
    write(tmp_path, 'a', labels(1, 4), train(1, 10, 3.0))
    write(tmp_path, 'd', labels(1, 9), train(1, 10, 9.0))  # of an older version
    for name in ('c', 'gone', 'b', 'a'):
        note_start(tmp_path, name)
    found = read_scalars(tmp_path)
    assert [path.parts[-3] for path in found.files] == ['d', 'c', 'b', 'a']
    assert points(found.series['pseudo_labels/clusters']) == [(1, 4)]
    assert points(found.series['loss']) == [(10, 3)]


def test_killed_before_the_first_line_of_training(tmp_path):
    write(
        tmp_path, 'a', labels(1, 1), train(1, 10, 2.0), labels(2, 2), train(2, 20, 1.0)
    )
    write(tmp_path, 'b', labels(2, 5))
    got = read_scalars(tmp_path).series
    assert points(got['loss']) == [(10, 2)]
    assert points(got['pseudo_labels/clusters']) == [(1, 1), (2, 5)]


@pytest.mark.parametrize('step', [0, 2])
def test_a_validation_alone_forgets_nothing(tmp_path, step):
    write(tmp_path, 'a', labels(1, 1), val(1, 30.0), labels(2, 2), val(2, 40.0))
    write(tmp_path, 'b', val(step, 77.0))
    got = read_scalars(tmp_path).series
    expected = {1: 30.0, 2: 40.0} | {step: 77.0}
    assert points(got['reid/mAP']) == sorted(expected.items())
    assert points(got['pseudo_labels/clusters']) == [(1, 1), (2, 2)]


def test_a_fresh_run_in_the_same_folder_replaces_all(tmp_path):
    write(tmp_path, 'a', labels(1, 1), train(1, 10, 2.0), labels(2, 2), val(2, 9.0))
    write(tmp_path, 'b', labels(1, 7), train(1, 10, 3.0))
    got = read_scalars(tmp_path).series
    assert points(got['pseudo_labels/clusters']) == [(1, 7)]
    assert points(got['loss']) == [(10, 3)]
    assert 'reid/mAP' not in got


@pytest.mark.parametrize('tail', ['{"loss": 0.5, "ep', '{', '"a', '5'])
def test_a_line_that_was_cut_off_is_left_out_with_a_warning(tmp_path, log_lines, tail):
    path = write(tmp_path, 'a', labels(1, 4), train(1, 10, 2.0), tail=tail)
    got = read_scalars(tmp_path).series
    assert points(got['loss']) == [(10, 2)]
    assert any(str(path) in text and 'line, 3' in text for _, text in log_lines)


def test_a_bad_line_elsewhere_is_named(tmp_path):
    path = write(
        tmp_path, 'a', labels(1, 4), tail='{"loss": \n{"loss": 1, "step": 2}\n'
    )
    with pytest.raises(ValueError, match=f'{path.name}, line 2'):
        read_scalars(tmp_path)


def test_nan_text_and_empty_lines(tmp_path):
    write(
        tmp_path,
        'a',
        train(1, 10, float('nan')) | {'name': 'x', 'flag': True},
        tail='\n{"no_step": 1}\n',
    )
    got = read_scalars(tmp_path).series
    assert np.isnan(got['loss'][1]).all()
    assert not {'name', 'flag', 'no_step'} & set(got)


@pytest.mark.parametrize('interval, length', [(7, 50), (50, 400), (10, 25)])
def test_iterations_in_an_epoch(tmp_path, interval, length):
    lines = [
        train(epoch, (epoch - 1) * length + inner, 1.0)
        for epoch in range(1, 8)
        for inner in range(interval, length + 1, interval)
    ]
    write(tmp_path, 'a', *lines)
    assert read_scalars(tmp_path).iters_per_epoch == pytest.approx(length, abs=1)


def test_nothing_there_is_said(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'scalars\.json'):
        read_scalars(tmp_path)
    write(tmp_path, 'a')
    assert read_scalars(tmp_path).series == {}
    assert read_scalars(tmp_path).iters_per_epoch is None
