# SPDX-License-Identifier: Apache-2.0
import pytest


@pytest.fixture(scope='module')
def fuzz(load_tool):
    return load_tool('fuzz')


def test_two_seconds(fuzz, capsys):
    assert fuzz.main(['--seconds', '2', '--seed', '7']) == 0, capsys.readouterr().err
    said = capsys.readouterr().out
    for kind in ('checkpoints', 'embedded_configs', 'galleries', 'images'):
        assert f'{kind}: ' in said and 'refused' in said


@pytest.mark.parametrize(
    'kind,reader,accepts',
    [
        ('checkpoints', 'read_checkpoint', lambda file: dict(x=1)),
        ('embedded_configs', 'usable_config', lambda cfg: cfg),
        ('galleries', 'GalleryIndex', None),  # nothing has load
        ('images', 'read_image', lambda data, max_pixels: None),
    ],
)
def test_a_reader_without_checks_is_found(
    fuzz, monkeypatch, capsys, kind, reader, accepts
):
    case = fuzz.KINDS[kind]

    def unchecked(folder):
        made = case(folder)
        monkeypatch.setattr(fuzz, reader, accepts)
        return made

    monkeypatch.setitem(fuzz.KINDS, kind, unchecked)
    arguments = ['--kind', kind, '--seconds', '9', '--seed', '40', '--count', '12']
    assert fuzz.main(arguments) == 1
    said = capsys.readouterr()
    assert f'python tools/fuzz.py --kind {kind} --seed 40 --count 1' in said.err
    assert '12 failed' in said.out and 'and 2 more' in said.err
