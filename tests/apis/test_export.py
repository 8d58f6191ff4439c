# SPDX-License-Identifier: Apache-2.0
import json

import cv2
import numpy as np
import pytest
import torch

from mmreid_gcl.apis import ReIDInferencer
from mmreid_gcl.apis.export import (
    export_model,
    input_size,
    least_cosine,
    resize_inside,
    run_exported,
)
from mmreid_gcl.registry import MODELS

from .tiny import SIZE, TEST_PIPELINE, draw, make_model, tiny_cfg, two_stages

# people under two cameras, at odd sizes
QUERIES = [draw(person, 0, 37 + person, 21) for person in range(5)]
GALLERY = [draw(person, 10, 52, 19 + person) for person in range(7)]


@pytest.fixture(scope='module')
def inferencer():
    cfg = two_stages(flip_test=True, channels_last=True)
    return ReIDInferencer(make_model(cfg=cfg), pipeline=TEST_PIPELINE, progress=False)


def pixels(images, metadata):
    """What a program makes of images that knows nothing but the metadata."""
    size = int(metadata['width']), int(metadata['height'])
    how = dict(bicubic=cv2.INTER_CUBIC)[metadata['interpolation']]
    batch = np.stack([cv2.resize(image, size, interpolation=how) for image in images])
    if metadata['channel_order'] == 'RGB':
        batch = batch[..., ::-1]
    batch = np.ascontiguousarray(batch.transpose(0, 3, 1, 2))
    if metadata['input_type'] == 'uint8':
        return batch
    if metadata['input_type'] == 'unit':
        return batch.astype(np.float32) / 255
    mean, std = (
        np.array(json.loads(metadata[name]), np.float32)[:, None, None]
        for name in ('mean', 'std')
    )
    return (batch.astype(np.float32) - mean) / std


def same_as_the_model(inferencer, run, metadata):
    """Unit embeddings within 1e-4, the same ranking; batches of any size."""
    parts = []
    for images in (QUERIES, GALLERY):
        found = run(pixels(images, metadata))
        assert found.dtype == np.float32
        expected = inferencer(images)
        assert np.abs(found - expected).max() <= 1e-4
        parts.append((found, expected))
        alone = run(pixels(images[:1], metadata))
        assert np.abs(alone - expected[:1]).max() <= 1e-4
    rankings = [
        np.argsort(-(query @ gallery.T), axis=1, kind='stable')
        for query, gallery in zip(*parts)
    ]
    assert np.array_equal(*rankings)
    assert len(np.unique(rankings[0], axis=0)) > 1


INPUTS = pytest.mark.parametrize(
    'input_type', ['uint8', 'unit', pytest.param('float', marks=pytest.mark.slow)]
)


@INPUTS
def test_onnx(inferencer, tmp_path, input_type):
    pytest.importorskip('onnx')
    pytest.importorskip('onnxscript')
    onnxruntime = pytest.importorskip('onnxruntime')
    path = tmp_path / 'model.onnx'
    metadata = export_model(inferencer, path, input_type=input_type)
    assert [file.name for file in tmp_path.iterdir()] == ['model.onnx']
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        str(path), options, providers=['CPUExecutionProvider']
    )
    assert session.get_modelmeta().custom_metadata_map == metadata
    (images,) = session.get_inputs()
    assert images.name == 'images' and images.shape[1:] == [3, *SIZE]
    assert isinstance(images.shape[0], str)
    assert images.type == (
        'tensor(uint8)' if input_type == 'uint8' else 'tensor(float)'
    )

    def run(batch):
        return session.run(['embeddings'], {'images': batch})[0]

    same_as_the_model(inferencer, run, metadata)


@INPUTS
def test_torch_export(inferencer, tmp_path, input_type):
    path = tmp_path / 'model.pt2'
    metadata = export_model(inferencer, path, input_type=input_type)
    extra = {'metadata.json': ''}
    module = torch.export.load(str(path), extra_files=extra).module()
    assert json.loads(extra['metadata.json']) == metadata

    def run(batch):
        with torch.no_grad():
            return module(torch.from_numpy(batch)).numpy()

    same_as_the_model(inferencer, run, metadata)


@pytest.mark.parametrize('input_type', ['uint8', 'unit', 'float'])
def test_torchscript(inferencer, tmp_path, input_type):
    path = tmp_path / 'model.pt'
    metadata = export_model(inferencer, path, input_type=input_type)
    extra = {'metadata.json': ''}
    module = torch.jit.load(str(path), _extra_files=extra)
    assert json.loads(extra['metadata.json']) == metadata

    def run(batch):
        with torch.no_grad():
            return module(torch.from_numpy(batch)).numpy()

    same_as_the_model(inferencer, run, metadata)


def rendered_crops():
    """People of the renderer at odd sizes, larger and smaller than the input."""
    rng = np.random.default_rng(0)
    crops = []
    for person, (h, w) in enumerate([(61, 23), (129, 65), (211, 97), (19, 11)]):
        image = draw(person, 0, h, w).astype(np.float32)
        image += rng.normal(0, 12, (h, w, 1))
        crops.append(image.clip(0, 255).astype(np.uint8))
    return crops


@pytest.mark.parametrize('ending', ['onnx', 'pt2', 'pt'])
@pytest.mark.parametrize('to_rgb', [True, False])
def test_preprocessing_inside(tmp_path, ending, to_rgb):
    if ending == 'onnx':
        pytest.importorskip('onnxscript')
        pytest.importorskip('onnxruntime')
    cfg = tiny_cfg()
    cfg.model.data_preprocessor.to_rgb = to_rgb
    inferencer = ReIDInferencer(
        make_model(cfg=cfg), pipeline=TEST_PIPELINE, progress=False
    )
    path = tmp_path / f'model.{ending}'
    metadata = export_model(inferencer, path, preprocess=True)
    assert metadata['channel_order'] == 'RGB' and metadata['preprocess'] == 'true'
    assert '(n, h, w, 3)' in metadata['input']
    crops = rendered_crops()
    expected = inferencer(crops)
    alone = [run_exported(path, crop[None, ..., ::-1].copy())[0] for crop in crops]
    assert ((np.stack(alone) * expected).sum(1) > 0.999).all()
    # an untrained network sees people alike; what is left is little beside that
    apart = np.linalg.norm(expected[:, None] - expected, axis=2)
    nearest = apart[~np.eye(len(crops), dtype=bool)].min()
    assert np.linalg.norm(np.stack(alone) - expected, axis=1).max() < nearest / 3
    # some of one size at once, as a program has them
    flipped = np.stack([crops[1], crops[1][::-1], crops[1][:, ::-1]])
    together = run_exported(path, flipped[..., ::-1].copy())
    assert ((together * inferencer(list(flipped))).sum(1) > 0.999).all()
    assert least_cosine(inferencer, path, crops) > 0.999


def test_resizing_is_said(inferencer, tmp_path):
    """Fed by a resize that antialiases, embeddings would be others."""
    metadata = export_model(inferencer, tmp_path / 'a.pt')
    assert metadata['resize'].startswith("OpenCV's bicubic (INTER_CUBIC")
    assert 'without antialiasing' in metadata['resize']
    assert metadata['preprocess'] == 'false'


@pytest.mark.parametrize(
    'steps',
    [
        [dict(type='Resize', scale=(16, 32), interpolation='area')],
        [dict(type='Resize', scale=(16, 32), backend='pillow')],
        [dict(type='Resize', scale=(16, 32), keep_ratio=True)],
        [dict(type='Resize', scale=(16, 32)), dict(type='CenterCrop', crop_size=8)],
        [],
    ],
)
def test_preprocessing_that_a_file_cannot_do(steps):
    pipeline = [dict(type='LoadImageFromFile'), *steps, dict(type='PackInputs')]
    with pytest.raises(ValueError, match='one Resize to one size by OpenCV'):
        resize_inside(pipeline)


def test_metadata(inferencer, tmp_path):
    metadata = export_model(inferencer, tmp_path / 'a.pt')
    assert metadata['input'].startswith('images: (n, 3, 32, 16)')
    assert (metadata['height'], metadata['width']) == ('32', '16')
    assert json.loads(metadata['mean']) == [123.675, 116.28, 103.53]
    assert json.loads(metadata['std']) == [58.395, 57.12, 57.375]
    assert metadata['model_hash'] == inferencer.model_hash


def test_the_model_stays_as_it_is(inferencer, tmp_path):
    before = inferencer(QUERIES)
    export_model(inferencer, tmp_path / 'a.pt')
    assert inferencer.model.channels_last
    assert np.array_equal(inferencer(QUERIES), before)


def test_a_compiled_model(tmp_path):
    cfg = tiny_cfg(compile=True)
    torch.manual_seed(0)
    model = MODELS.build(cfg.model).eval()
    inferencer = ReIDInferencer(model, pipeline=TEST_PIPELINE)
    export_model(inferencer, tmp_path / 'a.pt')
    assert model.backbone._compiled_call_impl is not None


@pytest.mark.parametrize(
    'steps,expected',
    [
        (TEST_PIPELINE, SIZE),
        ([dict(type='mmpretrain.Resize', scale=128)], (128, 128)),
        (
            [dict(type='Resize', scale=(1, 2)), dict(type='Resize', scale=[3, 4])],
            (4, 3),
        ),
    ],
)
def test_input_size(steps, expected):
    assert input_size(steps) == expected


def test_refused(inferencer, tmp_path):
    with pytest.raises(ValueError, match=r'model\.bin.*\.onnx'):
        export_model(inferencer, tmp_path / 'model.bin')
    with pytest.raises(ValueError, match='input_type'):
        export_model(inferencer, tmp_path / 'model.pt', input_type='int8')
    with pytest.raises(ValueError, match="must be 'uint8'"):
        export_model(inferencer, tmp_path / 'a.pt', input_type='float', preprocess=True)
    with pytest.raises(ValueError, match='give the size'):
        input_size([dict(type='PackInputs')])


def test_without_onnx(inferencer, tmp_path, monkeypatch):
    monkeypatch.setattr('mmreid_gcl.apis.export.find_spec', lambda name: None)
    with pytest.raises(ImportError, match='onnx and onnxscript'):
        export_model(inferencer, tmp_path / 'model.onnx')


def test_boxmot(tmp_path, monkeypatch):
    """BoxMOT resizes bilinearly and normalises by the statistics of ImageNet."""
    runtime = pytest.importorskip('boxmot.reid.core.runtime')
    backend = 'boxmot.reid.backends.onnx_backend.ONNXBackend'
    # which would install the version that it was made with
    monkeypatch.setattr(f'{backend}._ensure_onnxruntime_installed', lambda self: None)
    inferencer, frame, boxes = for_trackers()
    export_model(inferencer, tmp_path / 'model.onnx', input_type='float')
    found = runtime.ReID(tmp_path / 'model.onnx', device='cpu')(frame, boxes=boxes)
    expected = inferencer([frame[y:v, x:u] for x, y, u, v in boxes])
    assert np.abs(found - expected).max() < 1e-4


def test_ultralytics(tmp_path):
    """Ultralytics adds a margin, resizes bilinearly unrounded, and divides by 255."""
    reid = pytest.importorskip('ultralytics.trackers.utils.reid')
    inferencer, frame, boxes = for_trackers()
    export_model(inferencer, tmp_path / 'model.onnx', input_type='unit')
    x, y, u, v = boxes.T
    centred = np.stack([(x + u) / 2, (y + v) / 2, u - x, v - y], 1).astype(np.float32)
    encoder = reid.ReID(str(tmp_path / 'model.onnx'), device='cpu')
    found = np.stack(encoder(frame, centred))
    reach = (centred[:, 2:] * 1.02 + 10) / 2
    begin = (centred[:, :2] - reach).astype(int).clip(0)
    end = (centred[:, :2] + reach).astype(int)  # numpy cuts at the frame
    crops = [frame[y:v, x:u] for (x, y), (u, v) in zip(begin, end)]
    assert (found * inferencer(crops)).sum(1).min() > 0.9995


def for_trackers():
    """A model that resizes as trackers do, a frame and boxes (x, y, right, bottom)."""
    pytest.importorskip('onnxscript')
    pytest.importorskip('onnxruntime')
    pipeline = [dict(TEST_PIPELINE[1], interpolation='bilinear'), TEST_PIPELINE[2]]
    inferencer = ReIDInferencer(make_model(), pipeline=pipeline, progress=False)
    frame = np.concatenate([draw(person, 0, 100, 40) for person in range(4)], axis=1)
    boxes = np.array([(40 * n, 10, 40 * n + 40, 90) for n in range(4)])
    return inferencer, frame, boxes
