# SPDX-License-Identifier: Apache-2.0
"""What the demo keeps between two calls; its steps are tools with tests."""

import json

import pytest


@pytest.fixture
def demo(load_tool, tmp_path, monkeypatch):
    """The demo with its own data and weights."""
    module = load_tool('demo')
    module.DATA = tmp_path / 'data'
    module.DATA.mkdir()
    (module.DATA / 'synthetic.json').write_text('{"seed": 0}')
    module.WEIGHTS = tmp_path / 'weights.pth'
    module.WEIGHTS.write_bytes(b'weights')
    return module


def test_results_of_other_settings_are_not_taken(demo, tmp_path):
    demo.claim(tmp_path)
    demo.claim(tmp_path)
    (demo.DATA / 'synthetic.json').write_text('{"seed": 1}')
    with pytest.raises(SystemExit, match='Remove that folder'):
        demo.claim(tmp_path)


def test_a_training_in_two_parts(demo, tmp_path, monkeypatch):
    clock = iter([100.0, 130.0, 500.0, 512.0])
    monkeypatch.setattr(demo.time, 'time', lambda: next(clock))
    calls = []

    def run(title, *command):
        calls.append(command)
        if len(calls) == 1:
            raise SystemExit('it failed')
        checkpoint = tmp_path / 'epoch_1.pth'
        checkpoint.touch()
        (tmp_path / 'last_checkpoint').write_text(str(checkpoint))

    monkeypatch.setattr(demo, 'run', run)
    with pytest.raises(SystemExit):
        demo.train(tmp_path)
    assert not (tmp_path / 'complete').exists()
    demo.train(tmp_path)
    assert float((tmp_path / 'seconds').read_text()) == 42
    demo.train(tmp_path)
    assert len(calls) == 2
    assert all('--resume' in command for command in calls)


def test_report(demo, tmp_path, capsys):
    (tmp_path / 'seconds').write_text('90\n')
    (tmp_path / 'histogram.json').write_text(
        json.dumps(dict(best=dict(mAP=20.0, R1=30.0)))
    )
    (tmp_path / 'metrics.json').write_text(
        json.dumps({'reid/mAP': 39.9, 'reid/R1': 60.0})
    )
    before = {'reid/mAP': 15.0, 'reid/R1': 34.0}
    demo.report(
        tmp_path,
        before,
        tmp_path / 'histogram.json',
        tmp_path / 'metrics.json',
        tmp_path / 'epoch_1.pth',
        tmp_path / 'ranking.png',
    )
    text = capsys.readouterr().out
    assert 'Training took 1.5 minutes and raised mAP by 24.9' in text
    assert 'the aim of 25 is MISSED' in text
