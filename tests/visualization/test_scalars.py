# SPDX-License-Identifier: Apache-2.0
import json
import logging

import numpy as np
import pytest
from mmengine.logging import MMLogger

from mmreid_gcl.visualization import read_scalars


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
def test_a_line_that_was_cut_off_is_left_out_with_a_warning(tmp_path, tail):
    messages = []

    class Keep(logging.Handler):
        def emit(self, record):
            messages.append(record.getMessage())

    logger = MMLogger.get_instance('test_scalars')
    handler = Keep()
    logger.addHandler(handler)
    try:
        path = write(tmp_path, 'a', labels(1, 4), train(1, 10, 2.0), tail=tail)
        got = read_scalars(tmp_path).series
    finally:
        logger.removeHandler(handler)
    assert points(got['loss']) == [(10, 2)]
    assert any(str(path) in text and 'line, 3' in text for text in messages)


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
