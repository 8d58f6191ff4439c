# SPDX-License-Identifier: Apache-2.0
import json

import cv2
import numpy as np
import pytest

from mmreid_gcl.apis import ReIDInferencer, quantize
from mmreid_gcl.apis.export import onnx_session, run_exported

from .tiny import TEST_PIPELINE, draw, make_model, two_stages, write

pytest.importorskip('onnxscript')
pytest.importorskip('onnxruntime')


@pytest.fixture(scope='module')
def inferencer():
    return ReIDInferencer(
        make_model(cfg=two_stages()), pipeline=TEST_PIPELINE, progress=False
    )


@pytest.fixture(scope='module')
def crops(tmp_path_factory):
    """Two crops of each of 12 people in each of two cameras."""
    folder = tmp_path_factory.mktemp('crops')
    for camera in range(2):
        for person in range(12):
            for shot in range(2):
                image = draw(person, 10 * camera + shot)
                write(folder / f'{camera}/{person:02d}/{shot}.png', image)
    return folder


PATTERN = r'(?P<camera>\d)/(?P<pid>\d+)/'


@pytest.mark.parametrize(
    'options',
    [
        dict(),
        pytest.param(dict(input_type='float'), marks=pytest.mark.slow),
        dict(preprocess=True),
    ],
)
def test_int8(inferencer, crops, tmp_path, options):
    """The report is of what the file gives for the second crop of each person."""
    path = tmp_path / 'deep' / 'model.onnx'
    metadata, parity = quantize.export_int8(
        inferencer, path, crops, force=True, pattern=PATTERN, **options
    )
    assert onnx_session(path).get_modelmeta().custom_metadata_map == metadata
    assert [file.name for file in path.parent.iterdir()] == ['model.onnx']
    assert metadata['precision'] == 'int8'
    kept = json.loads(metadata['parity'])
    assert kept == vars(parity)
    assert kept['crops'] == 24 and kept['cosine_min'] > 0.99

    files = sorted(crops.glob('*/*/1.png'))
    before = inferencer([str(file) for file in files])
    images = [draw(int(f.parts[-2]), 10 * int(f.parts[-3]) + 1) for f in files]
    if 'preprocess' in options:
        batches = [image[None, ..., ::-1].copy() for image in images]
    else:
        batches = [fed(image, options) for image in images]
    after = [run_exported(path, batch)[0] for batch in batches]
    cosines = [float(a @ b) for a, b in zip(before, after)]
    assert kept['cosine_mean'] == pytest.approx(np.mean(cosines), abs=1e-5)
    assert kept['cosine_min'] == pytest.approx(min(cosines), abs=1e-5)
    assert 0 < np.abs(np.stack(after) - before).max() < 0.05
    assert kept['map_before'] is not None and kept['map_after'] is not None


def fed(image, options):
    pixels = cv2.resize(image, (16, 32), interpolation=cv2.INTER_CUBIC)
    pixels = pixels[None, ..., ::-1].transpose(0, 3, 1, 2).copy()
    if not options:
        return pixels
    mean, std = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]
    mean, std = (np.array(x, np.float32)[:, None, None] for x in (mean, std))
    return (pixels.astype(np.float32) - mean) / std


def unit(rows):
    rows = np.asarray(rows, np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_parity_by_hand():
    before = unit([[1, 0], [1, 0.1], [0, 1], [0.1, 1]])
    after = unit([[1, 0], [0, 1], [0, 1], [0.1, 1]])  # the second has become the third
    pids, camids = np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1])
    parity = quantize.compare_embeddings(before, after, pids, camids)
    assert parity.crops == 4
    assert parity.cosine_min == pytest.approx(0.1 / 1.01**0.5)
    assert parity.cosine_mean == pytest.approx((3 + 0.1 / 1.01**0.5) / 4)
    # rank 1 was 1, 0, 3, 2 and is 3, 2, 1, 1 or 2 (equal ones: the first)
    assert parity.rank1_agreement == 0
    # among the others, the match of 0 has rank 2, then 3, 2 (before 3), 2 (after 1)
    assert parity.map_before == 100 and parity.people == 2
    assert parity.map_after == pytest.approx(100 * (1 / 2 + 1 / 3 + 1 / 2 + 1 / 2) / 4)
    assert not parity.good
    assert 'mAP 100.0 -> 45.8' in str(parity)


@pytest.mark.parametrize('pids', [[-1] * 4, [0, 1, 2, 3], [0, 0, 1, -1]])
def test_no_map_without_people_in_two_cameras(pids):
    rows = unit(np.random.default_rng(0).normal(size=(4, 3)))
    camids = np.array([0, 0, 1, 1])
    parity = quantize.compare_embeddings(rows, rows, np.array(pids), camids)
    assert parity.map_before is None and parity.map_after is None
    assert parity.good and parity.rank1_agreement == 1
    assert 'mAP unknown' in str(parity)


@pytest.mark.parametrize(
    'cosine, agreement, before, after, people, good',
    [
        (0.96, 0.8, 70.0, 69.5, 20, True),  # the mAP judges, where it says enough
        (0.96, 0.8, 100.0, 100.0, 19, False),
        (0.96, 0.9, 100.0, 100.0, 19, True),
        (0.96, 1.0, 70.0, 68.5, 20, False),
        (0.96, 1.0, 70.0, 68.5, 1, False),
        (0.94, 1.0, 70.0, 70.0, 20, False),
        (0.96, 0.9, None, None, 0, True),
        (0.96, 0.8, None, None, 0, False),
        (0.94, 0.9, None, None, 0, False),
    ],
)
def test_limits(cosine, agreement, before, after, people, good):
    parity = quantize.Parity(9, cosine, 0.5, agreement, before, after, people)
    assert parity.good == good


def test_a_collapsed_model_is_not_written(inferencer, crops, tmp_path, monkeypatch):
    """As if INT8 had made one vector of everybody; the old file stays."""
    path = write(tmp_path / 'a.png', draw(0)).rename(tmp_path / 'model.onnx')
    old = path.read_bytes()
    before = quantize.compare_embeddings

    def collapsed(one, other, *labels):
        return before(one, np.broadcast_to(other[:1], other.shape), *labels)

    monkeypatch.setattr(quantize, 'compare_embeddings', collapsed)
    with pytest.raises(ValueError, match=r'same rank 1 for .*not written'):
        quantize.export_int8(inferencer, path, crops)
    assert path.read_bytes() == old


def test_refused(inferencer, tmp_path):
    with pytest.raises(ValueError, match=r'\.onnx'):
        quantize.export_int8(inferencer, tmp_path / 'a.pt', tmp_path)
    for n in range(7):
        write(tmp_path / f'few/{n}.png', draw(n))
    with pytest.raises(ValueError, match='at least 8 crops'):
        quantize.export_int8(inferencer, tmp_path / 'a.onnx', tmp_path / 'few')
    assert not (tmp_path / 'a.onnx').exists()


def test_evenly_spread():
    rows = np.arange(0, 2000, 2)
    assert quantize._spread(rows, 1000).tolist() == rows.tolist()
    assert quantize._spread(rows, 3).tolist() == [0, 1000, 1998]
