# SPDX-License-Identifier: Apache-2.0
import pytest

from tests.apis.tiny import write_crops


def test_export(load_tool, trained, tmp_path, capsys):
    out = tmp_path / 'deep' / 'model.pt'
    code = load_tool('export').main([trained[1], str(out), '--device=cpu'])
    assert code == 0 and out.is_file()
    printed = capsys.readouterr().out
    assert '(n, 3, 32, 16)' in printed and 'largest difference to the model' in printed


def test_another_size(load_tool, trained, tmp_path, capsys):
    out = tmp_path / 'model.pt'
    code = load_tool('export').main(
        [trained[1], str(out), '--device=cpu', '--size', '64', '24', '--input=float']
    )
    assert code == 0
    assert '(n, 3, 64, 24)' in capsys.readouterr().out


@pytest.mark.parametrize('size', [('0', '0'), ('64', '0'), ('-1', '8')])
def test_a_size_without_pixels(load_tool, trained, tmp_path, capsys, size):
    out = tmp_path / 'model.pt'
    arguments = [trained[1], str(out), '--device=cpu', '--size', *size]
    assert load_tool('export').main(arguments) == 2
    assert 'at least 1 x 1 pixels' in capsys.readouterr().err
    assert not out.exists()


@pytest.mark.parametrize('difference', [1.0, float('nan')])
def test_a_difference_is_an_error(load_tool, trained, tmp_path, capsys, difference):
    tool = load_tool('export')
    tool.compare_exported = lambda *arguments: difference
    assert tool.main([trained[1], str(tmp_path / 'a.pt'), '--device=cpu']) == 2
    assert 'Do not use this file' in capsys.readouterr().err


def test_preprocessing_inside(load_tool, trained, tmp_path, capsys):
    tool = load_tool('export')
    arguments = [trained[1], str(tmp_path / 'a.pt'), '--device=cpu', '--preprocess']
    assert tool.main(arguments) == 0
    printed = capsys.readouterr().out
    assert '(n, h, w, 3)' in printed and 'least cosine to the model' in printed
    tool.least_cosine = lambda *arguments: 0.99
    assert tool.main(arguments) == 2
    assert 'Do not use this file' in capsys.readouterr().err


def test_unknown_ending(load_tool, trained, tmp_path, capsys):
    assert load_tool('export').main([trained[1], str(tmp_path / 'a.bin')]) == 2
    assert '.onnx' in capsys.readouterr().err


def test_forced_int8(load_tool, trained, tmp_path, capsys, monkeypatch):
    pytest.importorskip('onnxscript')
    pytest.importorskip('onnxruntime')
    crops, out = write_crops(tmp_path / 'crops', people=5), tmp_path / 'model.onnx'
    arguments = [trained[1], str(out), '--device=cpu', '--int8', '--calibrate']
    monkeypatch.setattr('mmreid_gcl.apis.quantize.LEAST_COSINE', 1.1)
    lines = []
    monkeypatch.setattr(
        'mmreid_gcl.apis.quantize.log', lambda *line: lines.append(line)
    )
    assert load_tool('export').main([*arguments, str(crops), '--force']) == 0
    printed = capsys.readouterr().out
    assert len(lines) == 1 and 'Do not use this file' in lines[0][0]
    assert 'cosine mean' in printed and 'the same rank 1' in printed and out.is_file()


@pytest.mark.parametrize(
    'options',
    [['--int8'], ['--calibrate=a'], ['--int8', '--calibrate=a', '--size', '8', '8']],
)
def test_int8_needs_crops(load_tool, tmp_path, options):
    with pytest.raises(SystemExit, match='2'):
        load_tool('export').main(['a.pth', str(tmp_path / 'a.onnx'), *options])
