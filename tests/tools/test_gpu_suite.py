# SPDX-License-Identifier: Apache-2.0
"""The suite of GPU benchmarks, at a tiny size without a GPU."""

import json
import os
import subprocess
import sys

import pytest
import torch

from mmreid_gcl import models

from .conftest import TOOLS

FAST = ['equality', 'step', 'neighbours', 'memory', 'tests']


@pytest.fixture(scope='module')
def suite(load_tool):
    return load_tool('benchmarks/gpu_suite')


@pytest.fixture(autouse=True)
def no_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)


def run(suite, out, capsys, *options, minutes='5'):
    suite.main(['--tiny', '--minutes', minutes, '--out', str(out), *options])
    return json.loads(out.read_text())['rows'], capsys.readouterr()


def test_parts_are_measured_once(suite, tmp_path, capsys, monkeypatch):
    out = tmp_path / 'new' / 'gpu.json'
    rows, printed = run(suite, out, capsys, '--only', *FAST)
    assert set(rows) == set(FAST)
    for part in ('equality', 'neighbours'):
        assert all('result' in row for row in rows[part].values()), rows[part]
    for row in rows['equality'].values():
        assert set(row['result'].values()) == {0.0}  # the CPU with itself
    assert rows['step']['float32']['result']['ms'] > 0
    assert rows['neighbours']['300 x 16, float32']['result'] == {
        'rows searched': 300,
        'all_s': pytest.approx(0, abs=60),
        'recall@29': 1,
    }
    assert rows['memory']['16 x 8, float32'] == {'left out': 'needs a GPU'}
    assert '| 300 x 16, float32 | 300 |' in printed.out
    assert '- pytest -m gpu: left out: needs a GPU' in printed.out

    def never(*args, **kwargs):
        raise AssertionError('measured again')

    for name in ('equality_of_head', 'equality_of_neck', 'equality_of_metric'):
        monkeypatch.setattr(suite, name, never)
    again, second = run(suite, out, capsys, '--only', 'equality')
    assert again == rows and second.out == printed.out
    suite.main(['--minutes', '0', '--out', str(out)])
    assert capsys.readouterr().out == printed.out


def test_a_failing_part_is_recorded_and_made_again(
    suite, tmp_path, capsys, monkeypatch
):
    work = suite.search_neighbours

    def fail(n, *args):
        if n == 300:
            raise RuntimeError('out of memory')
        return work(n, *args)

    monkeypatch.setattr(suite, 'search_neighbours', fail)
    out = tmp_path / 'gpu.json'
    rows, printed = run(suite, out, capsys, '--only', 'neighbours')
    found = rows['neighbours']
    assert found['300 x 16, float32'] == {'error': 'RuntimeError: out of memory'}
    assert 'result' in found['400 x 16, float32']
    assert '- 300 x 16, float32: failed: RuntimeError: out of memory' in printed.out
    monkeypatch.setattr(suite, 'search_neighbours', work)
    rows, _ = run(suite, out, capsys, '--only', 'neighbours')
    assert 'result' in rows['neighbours']['300 x 16, float32']


def test_time_is_bounded(suite, tmp_path, capsys):
    rows, printed = run(suite, tmp_path / 'a', capsys, '--only', 'step', minutes='.01')
    assert all(row.keys() == {'left out'} for row in rows['step'].values())
    assert '- float32: left out: 5 s expected, 1 s were left' in printed.out
    with pytest.raises(TimeoutError, match='stopped after 0 s'), suite.time_limit(0.05):
        suite.time.sleep(30)
    item = suite.Measurement('step', 'slow', 0.01, lambda: suite.time.sleep(30))
    one = suite.Suite(tmp_path / 'b', 60, {})
    one.make(item)
    error = one.results['rows']['step']['slow']['error']
    assert error == 'TimeoutError: stopped after 0 s'


def test_bad_calls(suite, tmp_path):
    with pytest.raises(SystemExit, match=r'finds no GPU.*--tiny'):
        suite.main(['--out', str(tmp_path / 'a')])
    with pytest.raises(SystemExit, match='nothing was measured'):
        suite.main(['--minutes', '0', '--out', str(tmp_path / 'a')])
    other = dict(about=dict(machine='abacus'), rows={})
    (tmp_path / 'b').write_text(json.dumps(other))
    with pytest.raises(SystemExit, match='abacus'):
        suite.main(['--tiny', '--out', str(tmp_path / 'b')])


@pytest.mark.slow
def test_epoch(suite, tmp_path, capsys):
    rows, _ = run(suite, tmp_path / 'gpu.json', capsys, '--only', 'epoch', 'clustering')
    for row in (*rows['epoch'].values(), *rows['clustering'].values()):
        assert all(value >= 0 for value in row['result'].values())
    assert len(rows['epoch']) == 3 and len(rows['clustering']) == 2


def test_every_head_and_neck_is_compared(suite):
    found = {
        name
        for name in models.__all__
        if name.endswith(('Head', 'Neck')) and not name.startswith('Base')
    }
    assert found == {*suite.HEADS, 'EmbeddingNeck', 'GCLNeck'}


def test_a_difference_is_seen(suite):
    assert suite.off(torch.tensor([1.0, 2.2]), torch.tensor([1.0, -2.0])) == (
        pytest.approx(2.1)
    )


def test_two_runs_are_compared(suite):
    step = suite.sizes_of(suite.parse_args(['--tiny'])).step
    result = suite.losses_twice(0, 1, step, 'cpu', True)
    assert result.pop('s') > 0
    assert result.pop('bit-equal')
    assert result.pop('without a deterministic form') == 'none'
    assert result == {'losses': 0, 'weights': 0, 'memories': 0}
    assert not torch.are_deterministic_algorithms_enabled()


@pytest.mark.slow
def test_parts_in_processes_of_their_own(tmp_path):
    command = [sys.executable, str(TOOLS / 'benchmarks/gpu_suite.py'), '--tiny']
    out = tmp_path / 'gpu.json'
    command += ['--minutes', '6', '--out', str(out)]
    command += ['--only', 'processes', 'determinism', 'compiled']
    subprocess.run(command, check=True, env={**os.environ, 'CUDA_VISIBLE_DEVICES': ''})
    rows = json.loads(out.read_text())['rows']
    assert all('result' in row for part in rows.values() for row in part.values())
    result = rows['processes']['collectives, SyncBN']['result']
    assert result['sums right'] and result['neighbours as of one process']
