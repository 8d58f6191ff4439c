# SPDX-License-Identifier: Apache-2.0
"""The audit on images and a network that are made for the test."""

import importlib
import json
from pathlib import Path

import pytest

from tests.synthetic_training import small_config, write_people


@pytest.fixture(scope='module')
def config(tmp_path_factory):
    folder = tmp_path_factory.mktemp('audit')
    people = write_people(folder / 'people')
    cfg = small_config(people, folder / 'work')
    cfg.custom_imports = dict(imports=['mmreid_gcl'])
    cfg.dump(folder / 'config.py')
    return folder / 'config.py'


def run(monkeypatch, *words):
    folder = Path(__file__).resolve().parents[2] / 'tools/analysis'
    monkeypatch.syspath_prepend(str(folder))
    return importlib.import_module('audit_graphs').main([str(word) for word in words])


def test_the_leak_is_visible(config, tmp_path, monkeypatch, capsys):
    options = ['--size', 8, '--num-workers', 0, '--device', 'cpu']
    status = run(
        monkeypatch, config, *options, f'--json={tmp_path}/a.json',
        f'--figure={tmp_path}/a.png', f'--out={tmp_path}/a.md',
    )  # fmt: skip
    assert status == 0
    result = json.loads((tmp_path / 'a.json').read_text())
    kinds = result['kinds']
    assert list(kinds) == ['filename', 'camera_time', 'random', 'neighbours', 'mutual']
    # names begin with the identity: graphs of one person, over its cameras
    assert kinds['filename']['same'] > 0.6
    assert kinds['filename']['far_mate'] > 2 * kinds['filename']['far_mate_chance']
    # a camera's own order joins no cameras
    assert kinds['camera_time']['far_mate'] < kinds['camera_time']['far_mate_chance']
    near = kinds['random']
    assert near['same'] == pytest.approx(near['same_chance'], abs=0.05)
    assert kinds['mutual']['nodes'] < kinds['neighbours']['nodes'] == 7
    assert all(-1 <= row['ari'] <= 1 for row in kinds.values())
    text = capsys.readouterr().out
    assert 'file name (the paper)' in text and text.count('\n| ') == 8
    assert text.strip().endswith((tmp_path / 'a.md').read_text().strip())
    assert (tmp_path / 'a.png').stat().st_size > 1000


def test_what_is_missing_is_named(config, tmp_path, monkeypatch, capsys):
    assert run(monkeypatch, config, tmp_path / 'no.pth') == 2
    assert 'no.pth' in capsys.readouterr().err
