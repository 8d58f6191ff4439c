# SPDX-License-Identifier: Apache-2.0
import io

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mmengine.config import Config
from PIL import Image, ImageSequence
from torch import nn

from mmreid_gcl.apis.export import export_model
from mmreid_gcl.apis.images import ImageError
from mmreid_gcl.apis.inferencer import ReIDInferencer
from mmreid_gcl.apis.publish import publish_checkpoint
from mmreid_gcl.datasets import PersonFolder
from mmreid_gcl.engine import extract_features
from mmreid_gcl.registry import TRANSFORMS

from .tiny import (
    CHANNELS,
    SIZE,
    TEST_PIPELINE,
    draw,
    make_model,
    save_checkpoint,
    tiny_cfg,
    write,
    write_crops,
)

IMAGES = [draw(person) for person in range(6)]


def by_hand(model, images):
    """Resize, red green blue, normalise, embed: without the pipeline."""
    import cv2

    rows = []
    for image in images:
        image = cv2.resize(image, SIZE[::-1], interpolation=cv2.INTER_CUBIC)
        rows.append(image[..., ::-1].transpose(2, 0, 1).astype(np.float32))
    mean = np.array([123.675, 116.28, 103.53], np.float32)[:, None, None]
    std = np.array([58.395, 57.12, 57.375], np.float32)[:, None, None]
    inputs = torch.from_numpy((np.stack(rows) - mean) / std)
    with torch.no_grad():
        return F.normalize(model.neck.norm(model.backbone(inputs)[-1].mean((2, 3))))


def test_embeddings_by_hand(model, inferencer):
    features = inferencer(IMAGES)
    assert features.shape == (6, CHANNELS) and features.dtype == np.float32
    assert np.allclose(np.linalg.norm(features, axis=1), 1, atol=1e-6)
    assert np.allclose(features, by_hand(model, IMAGES), atol=1e-5)
    assert np.abs(features[0] - features[1]).max() > 1e-3


def test_all_kinds_of_input(inferencer, tmp_path):
    expected = inferencer(IMAGES)
    paths = [write(tmp_path / f'{i}.png', image) for i, image in enumerate(IMAGES)]
    kinds = [
        np.stack(IMAGES),
        tuple(IMAGES),
        (image for image in IMAGES),
        iter([str(path) for path in paths]),
        paths,
        str(tmp_path),
        tmp_path,
        [path.read_bytes() for path in paths],
        [Image.fromarray(image[..., ::-1]) for image in IMAGES],
        [IMAGES[0], paths[1], str(paths[2]), *IMAGES[3:]],
    ]
    for inputs in kinds:
        assert np.allclose(inferencer(inputs), expected, atol=1e-6), type(inputs)
    for single in (IMAGES[0], paths[0], str(paths[0])):
        assert np.allclose(inferencer(single), expected[:1], atol=1e-6)


@pytest.mark.parametrize('batch_size', [1, 2, 5, 6, 100])
@pytest.mark.parametrize('num_workers', [0, 3])
def test_order_and_batches(model, batch_size, num_workers):
    inferencer = ReIDInferencer(
        model, pipeline=TEST_PIPELINE, num_workers=num_workers, progress=False
    )
    alone = np.concatenate([inferencer(image) for image in IMAGES])
    assert np.allclose(inferencer(IMAGES, batch_size), alone, atol=1e-5)


@pytest.mark.parametrize('half', [False, True])
def test_convolutions_are_not_rounded_to_tf32(model, half):
    """As the training set is embedded; half precision asks for speed."""
    inferencer = ReIDInferencer(
        model, pipeline=TEST_PIPELINE, half=half, progress=False
    )
    seen = []
    hook = model.backbone.register_forward_pre_hook(
        lambda *_: seen.append(torch.backends.cudnn.allow_tf32)
    )
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = True
    try:
        inferencer(IMAGES[0])
        assert torch.backends.cudnn.allow_tf32
    finally:
        torch.backends.cudnn.allow_tf32 = before
        hook.remove()
    assert seen == [half]


def test_an_endless_generator_is_not_read_to_its_end(inferencer):
    taken = 0

    def camera():
        nonlocal taken
        while True:
            taken += 1
            if taken == 30:
                raise ConnectionError('camera gone')
            yield draw(taken)

    with pytest.raises(ConnectionError, match='camera gone'):
        inferencer(camera())
    assert taken == 30


def frames_of_one_buffer():
    buffer = np.empty_like(IMAGES[0])
    for image in IMAGES * 3:
        buffer[:] = image
        yield buffer


def views_of_one_frame():
    frame = np.empty((50, 60, 3), np.uint8)
    for i, image in enumerate(IMAGES * 3):
        crop = frame[5:45, 2 * i : 2 * i + 20]
        crop[:] = image
        yield crop


def bytes_of_one_buffer(kind):
    for image in IMAGES * 3:
        data = cv2.imencode('.bmp', image)[1].tobytes()
        buffer = bytearray(data)
        yield kind(buffer)
        buffer[:] = bytes(len(data))


def frames_of_one_file():
    file = io.BytesIO()
    first, *others = [Image.fromarray(image[..., ::-1]) for image in IMAGES * 3]
    first.save(file, 'TIFF', save_all=True, append_images=others)
    with Image.open(file) as frames:
        yield from ImageSequence.Iterator(frames)


def pillow_drawn_anew():
    canvas = Image.new('RGB', (20, 40))
    for image in IMAGES * 3:
        canvas.paste(Image.fromarray(image[..., ::-1]))
        yield canvas


def closed_files(folder):
    for i, image in enumerate(IMAGES * 3):
        with Image.open(write(folder / f'{i}.png', image)) as opened:
            yield opened


@pytest.mark.parametrize('workers', [0, 2])
def test_what_is_read_ahead_is_copied(model, tmp_path, workers):
    """Sources that use one buffer, file or image again for every item."""
    inferencer = ReIDInferencer(
        model, pipeline=TEST_PIPELINE, batch_size=4, num_workers=workers, progress=False
    )
    expected = by_hand(model, IMAGES).repeat(3, 1)
    for source in (
        frames_of_one_buffer(),
        views_of_one_frame(),
        bytes_of_one_buffer(lambda buffer: buffer),
        bytes_of_one_buffer(memoryview),
        frames_of_one_file(),
        pillow_drawn_anew(),
        closed_files(tmp_path),
    ):
        assert np.allclose(inferencer(source), expected, atol=1e-5), source


def test_the_callers_array_is_left_alone(model):
    """Also by a transform that works in place."""

    def blacken(data):
        data['img'][:] = 0
        return data

    inferencer = ReIDInferencer(model, pipeline=TEST_PIPELINE, progress=False)
    inferencer._transform.transforms.insert(0, blacken)
    image = IMAGES[0].copy()
    inferencer(image)
    assert np.array_equal(image, IMAGES[0])


def test_a_broken_pillow_image_is_skipped(inferencer):
    data = cv2.imencode('.png', IMAGES[1])[1].tobytes()
    broken = Image.open(io.BytesIO(data[: len(data) // 2]))
    found = inferencer.extract([IMAGES[0], broken, IMAGES[2]])
    assert found.rows.tolist() == [0, 2] and 'inputs[1]' in found.failed


def test_as_in_training(model, tmp_path):
    write_crops(tmp_path)
    pipeline = [TRANSFORMS.build(step) for step in TEST_PIPELINE]
    dataset = PersonFolder(str(tmp_path), pipeline=pipeline)
    reference = extract_features(model, dataset, 3, 0).numpy()
    rows = dict(zip(dataset.column('img_path').tolist(), reference))
    inferencer = ReIDInferencer(model, pipeline=TEST_PIPELINE, progress=False)
    found = inferencer.extract(tmp_path)
    assert found.paths == sorted(rows)
    expected = np.stack([rows[path] for path in found.paths])
    assert np.allclose(found.features, expected, atol=1e-5)


@pytest.mark.parametrize('as_path', [True, False])
def test_config_and_weights(tmp_path, model, as_path):
    cfg = tiny_cfg()
    weights = save_checkpoint(tmp_path / 'a.pth', with_config=False)
    if as_path:
        cfg.dump(tmp_path / 'config.py')
        cfg = str(tmp_path / 'config.py')
    inferencer = ReIDInferencer(cfg, weights, device='cpu', progress=False)
    assert np.allclose(inferencer(IMAGES), by_hand(model, IMAGES), atol=1e-5)


def test_a_checkpoint_that_carries_its_config(tmp_path, model):
    weights = save_checkpoint(tmp_path / 'a.pth')
    inferencer = ReIDInferencer(weights, device='cpu', progress=False)
    assert np.allclose(inferencer(IMAGES), by_hand(model, IMAGES), atol=1e-5)


def test_weights_into_a_module(tmp_path):
    weights = save_checkpoint(tmp_path / 'a.pth', seed=0)
    other = make_model(seed=1)
    inferencer = ReIDInferencer(other, weights, pipeline=TEST_PIPELINE)
    assert np.allclose(inferencer(IMAGES), by_hand(make_model(0), IMAGES), atol=1e-5)


def test_untrained_is_said(log_lines):
    ReIDInferencer(tiny_cfg(), device='cpu')
    assert [line for level, line in log_lines if 'untrained' in line]


HOOK = dict(type='PseudoLabelHook')


def test_pipeline_of_every_place(model):
    steps = TEST_PIPELINE
    for extra in (
        dict(test_dataloader=dict(dataset=dict(pipeline=steps))),
        dict(val_dataloader=dict(dataset=dict(pipeline=steps)), test_dataloader=None),
        dict(
            default_hooks=dict(pseudo_labels=dict(HOOK, extract=dict(pipeline=steps)))
        ),
        dict(test_pipeline=steps),
    ):
        cfg = Config(dict(model=tiny_cfg().model, **extra))
        inferencer = ReIDInferencer(cfg, device='cpu')
        assert [step['type'] for step in inferencer.pipeline] == [
            'Resize',
            'PackInputs',
        ]
    with pytest.raises(ValueError, match='test_pipeline'):
        ReIDInferencer(Config(dict(model=tiny_cfg().model)), device='cpu')
    with pytest.raises(ValueError, match='pipeline='):
        ReIDInferencer(model)


def test_half_precision(model):
    whole = ReIDInferencer(model, pipeline=TEST_PIPELINE)(IMAGES)
    half = ReIDInferencer(model, pipeline=TEST_PIPELINE, half=True)(IMAGES)
    assert half.dtype == np.float32
    assert np.allclose(np.linalg.norm(half, axis=1), 1, atol=1e-6)
    assert 1e-6 < np.abs(half - whole).max() < 0.02


def test_training_mode_does_not_matter(model):
    inferencer = ReIDInferencer(make_model().train(), pipeline=TEST_PIPELINE)
    assert np.allclose(inferencer(IMAGES), by_hand(model, IMAGES), atol=1e-5)


def test_a_model_that_is_trained_between_calls():
    """Embedded in eval mode, statistics untouched, every mode as it was."""
    trained = make_model().train()
    frozen = trained.backbone.layer1.eval()
    modes = [module.training for module in trained.modules()]
    state = {name: value.clone() for name, value in trained.state_dict().items()}
    inferencer = ReIDInferencer(trained, pipeline=TEST_PIPELINE, progress=False)
    assert trained.training
    expected = by_hand(make_model(), IMAGES)
    for _ in range(2):
        assert np.allclose(inferencer(IMAGES), expected, atol=1e-5)
        assert [module.training for module in trained.modules()] == modes
        trained.train()
        frozen.eval()
    assert all(torch.equal(v, state[k]) for k, v in trained.state_dict().items())
    nn.init.constant_(trained.neck.norm.weight, float('nan'))
    with pytest.raises(ValueError, match='not finite'):
        inferencer(IMAGES)
    assert [module.training for module in trained.modules()] == modes


def test_an_empty_path_is_no_folder(inferencer, tmp_path, monkeypatch):
    """Not the current one, wherever a path is taken."""
    monkeypatch.chdir(write_crops(tmp_path / 'crops', people=1))
    gallery = inferencer.build_gallery('.', out='../gallery')
    for call in (
        lambda: inferencer(''),
        lambda: inferencer(['']),
        lambda: inferencer.build_gallery(''),
        lambda: inferencer.build_gallery('.', out=''),
        lambda: inferencer.load_gallery(''),
        lambda: inferencer.search('', gallery),
        lambda: inferencer.search(IMAGES[0], ''),
        lambda: gallery.save(''),
        lambda: ReIDInferencer(''),
        lambda: ReIDInferencer(tiny_cfg(), '', device='cpu'),
        lambda: publish_checkpoint('../a.pth', ''),
        lambda: export_model(inferencer, '', 'torchscript'),
    ):
        with pytest.raises((ValueError, FileNotFoundError), match=r'empty|no such'):
            call()
    found = inferencer.extract(['', IMAGES[0], 'a\0b'])
    assert found.rows.tolist() == [1] and len(found.failed) == 2


def test_one_bad_image_is_an_error(inferencer, tmp_path):
    bad = tmp_path / 'bad.jpg'
    bad.write_bytes(b'')
    for inputs in (bad, [IMAGES[0], str(bad)], tmp_path):
        with pytest.raises(ImageError, match=r'bad\.jpg: .*zero bytes'):
            inferencer(inputs)
    with pytest.raises(ImageError, match=r'inputs\[1\].*float'):
        inferencer([IMAGES[0], IMAGES[1] / 255])


def test_bad_crops_of_a_folder_are_skipped_and_listed(inferencer, tmp_path, log_lines):
    write_crops(tmp_path, people=3)
    empty = tmp_path / 'entrance' / '00_5.jpg'
    empty.write_bytes(b'')
    text = tmp_path / 'hall' / '01_0.5.png'
    text.write_text('no image')
    found = inferencer.extract(tmp_path)
    assert set(found.failed) == {str(empty), str(text)}
    assert len(found) == 12 and str(empty) not in found.paths
    for path, feature in zip(found.paths, found.features):
        assert np.allclose(feature, inferencer(path)[0], atol=1e-5)
    everything = sorted(str(path) for path in tmp_path.rglob('*.*'))
    assert [everything[row] for row in found.rows] == found.paths
    warnings = [line for level, line in log_lines if level == 'WARNING']
    assert sum(line.startswith('Skipped') for line in warnings) == 2
    assert '12 images were embedded, 2 could not be read' in warnings[-1]
    assert str(empty) in warnings[-1] and str(text) in warnings[-1]


def test_a_track_of_a_gallery_is_removed_by_its_trackers_number(inferencer, tmp_path):
    names = [
        f'{camera}/track_{track:06}/{frame:06}.png'
        for camera in ('entrance', 'hall')
        for track in (2, 4, 11)
        for frame in (7, 8)
    ]
    for n, name in enumerate(names):
        write(tmp_path / name, draw(n))
    (tmp_path / names[4]).write_bytes(b'')  # of track 11
    gallery = inferencer.build_gallery(tmp_path)
    assert gallery.tracks.tolist() == [2, 2, 4, 4, 11, 2, 2, 4, 4, 11, 11]
    assert gallery.remove(cameras='entrance', tracks=4) == 2
    assert gallery.paths == [*names[:2], *names[5:]]
    (best,) = gallery.search(inferencer(draw(11)), topk=1)[0]
    assert (best.camera, best.track) == ('hall', 11)


def test_a_failing_transform_names_the_image(model):
    pipeline = [dict(type='CenterCrop', crop_size='no'), dict(type='PackInputs')]
    with pytest.raises((ImageError, TypeError, AssertionError, ValueError)):
        ReIDInferencer(model, pipeline=pipeline)(IMAGES)


def test_no_image_at_all(inferencer, tmp_path):
    with pytest.raises(ValueError, match='no image to embed'):
        inferencer([])
    with pytest.raises(FileNotFoundError, match='found none'):
        inferencer(tmp_path)
    (tmp_path / 'a.jpg').write_bytes(b'x')
    with pytest.raises(ImageError, match='None of 1 images'):
        inferencer.extract(tmp_path)
    with pytest.raises(ImageError, match='No such file'):
        inferencer(tmp_path / 'missing.jpg')


@pytest.mark.parametrize('inputs', [3, None, dict(a=1), 2.5])
def test_no_input(inferencer, inputs):
    with pytest.raises(TypeError, match='expected an image'):
        inferencer(inputs)


def test_damaged_weights_are_found():
    model = make_model(seed=3)
    nn.init.constant_(model.neck.norm.weight, float('nan'))
    with pytest.raises(ValueError, match=r'inputs\[0\].*not finite'):
        ReIDInferencer(model, pipeline=TEST_PIPELINE)(IMAGES)


@pytest.mark.parametrize(
    'arguments,error,message',
    [
        (dict(model=3), TypeError, 'got a int'),
        (dict(model='none.py'), FileNotFoundError, 'none.py'),
        (dict(model=nn.Linear(2, 2)), TypeError, 'data_preprocessor'),
        (dict(model=tiny_cfg(), weights='none.pth'), FileNotFoundError, 'none.pth'),
        (dict(model=tiny_cfg(), batch_size=0), ValueError, 'batch_size'),
    ],
)
def test_bad_arguments(arguments, error, message):
    with pytest.raises(error, match=message):
        ReIDInferencer(**arguments)


def test_on_error(inferencer):
    with pytest.raises(ValueError, match='on_error'):
        inferencer.extract(IMAGES, on_error='ignore')
