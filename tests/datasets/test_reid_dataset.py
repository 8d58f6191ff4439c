# SPDX-License-Identifier: Apache-2.0
import os
import pickle
import random

import cv2
import numpy as np
import pytest
import torch
from mmengine.dataset import pseudo_collate
from PIL import Image
from torch.utils.data import DataLoader

from mmreid_gcl.datasets import Market1501, ReIDDataset, SampleIndex
from mmreid_gcl.datasets.image_cache import cache_pipeline

from .layouts import write_images

LOAD = [{'type': 'LoadImageFromFile'}]


def draw(results):
    """A transform that takes from all three random streams."""
    results['drawn'] = random.random(), np.random.rand(), torch.rand(1).item()
    return results


@pytest.fixture
def root(tmp_path):
    names = [f'000{pid}_c{pid}s1_000001_00.jpg' for pid in (1, 2, 3)]
    write_images(tmp_path / 'bounding_box_train', names)
    return tmp_path


def test_split_is_checked():
    with pytest.raises(ValueError, match=r"split must be one of .*'test'.* got 'val'"):
        Market1501('anywhere', split='val')


@pytest.mark.parametrize('data_root', ['', None])
def test_data_root_is_needed(data_root):
    with pytest.raises(ValueError, match=r'data_root is empty.*--cfg-options'):
        Market1501(data_root)


def test_home_is_expanded(root, monkeypatch):
    monkeypatch.setenv('HOME', str(root.parent))
    assert len(Market1501(f'~/{root.name}')) == 3


def test_columns(root):
    dataset = Market1501(root)
    assert dataset.column('pid').dtype == np.int64
    assert dataset.column('is_query').dtype == np.bool_
    assert dataset.column('camid').tolist() == [0, 1, 2]
    assert dataset.column('img_path')[1].endswith('0002_c2s1_000001_00.jpg')
    with pytest.raises(KeyError, match='gt_label'):
        dataset.column('gt_label')


def test_columns_follow_a_subset_of_the_same_length(root):
    dataset = Market1501(root)
    assert dataset.column('pid').tolist() == [1, 2, 3]
    turned = dataset.get_subset([2, 1, 0])
    assert turned.column('pid').tolist() == [3, 2, 1]
    dataset.get_subset_([1, 0, 2])
    assert dataset.column('pid').tolist() == [2, 1, 3]


def test_indices_and_lazy_init(root):
    assert Market1501(root, indices=[2, 0]).column('pid').tolist() == [3, 1]
    lazy = Market1501(root, lazy_init=True)
    lazy.get_subset_([1])
    assert lazy.column('pid').tolist() == [2]


def test_without_serialisation(root):
    dataset = Market1501(root, serialize_data=False)
    assert dataset.column('pid').tolist() == [1, 2, 3]
    assert dataset.get_subset([1]).column('pid').tolist() == [2]


def test_with_pipeline(root):
    dataset = Market1501(root, pipeline=LOAD, lazy_init=True)
    view = dataset.with_pipeline([])
    assert 'img' in dataset[0] and 'img' not in view[0]
    assert view.data_bytes is dataset.data_bytes


def test_identity_is_no_label(root):
    assert 'gt_label' not in Market1501(root)[0]


def test_label_of_the_draw(root):
    sample = Market1501(root)[SampleIndex(1, label=41)]
    assert (sample['gt_label'], sample['pid'], sample['sample_idx']) == (41, 2, 1)


def test_seed_of_the_draw(root):
    dataset = Market1501(root, pipeline=[draw])
    first = dataset[SampleIndex(0, seed=7)]['drawn']
    assert dataset[SampleIndex(2, seed=7)]['drawn'] == first
    assert dataset[SampleIndex(0, seed=8)]['drawn'] != first
    np.random.seed(0)
    before = np.random.get_state()[1].copy()
    dataset[SampleIndex(0, seed=7)]
    assert (np.random.get_state()[1] == before).all()


@pytest.mark.parametrize('workers', [0, 2])
def test_through_a_loader(root, workers):
    indices = [SampleIndex(i, label=10 * i, seed=i) for i in (2, 0, 1)]
    loader = DataLoader(
        Market1501(root, pipeline=LOAD),
        sampler=indices,
        num_workers=workers,
        batch_size=3,
        collate_fn=pseudo_collate,
    )
    (batch,) = loader
    assert batch['pid'] == [3, 1, 2]
    assert batch['gt_label'] == [20, 0, 10]


def test_pickle(root):
    dataset = pickle.loads(pickle.dumps(Market1501(root, pipeline=LOAD)))
    assert dataset[2]['pid'] == 3


def half_a_jpeg():
    noise = np.random.default_rng(0).integers(0, 256, (128, 64, 3), np.uint8)
    data = cv2.imencode('.jpg', noise)[1].tobytes()
    return data[: len(data) // 2]


@pytest.mark.parametrize('content', [b'', b'no image, but text', half_a_jpeg()[:200]])
def test_an_image_that_cannot_be_decoded(root, content):
    path = root / 'bounding_box_train' / '0002_c2s1_000001_00.jpg'
    path.write_bytes(content)
    dataset = Market1501(root, pipeline=LOAD)
    assert dataset[0]['img'].shape == (8, 4, 3)
    for index in (1, SampleIndex(1, label=0, seed=0)):
        with pytest.raises(RuntimeError) as caught:
            dataset[index]
        message = str(caught.value)
        assert message.startswith(f'{path}: this image cannot be read')
        assert message.endswith('Replace it or remove it.')


def test_half_a_jpeg_is_never_another_image(root):
    """Some versions of OpenCV decode the upper half: then that is what comes."""
    path = root / 'bounding_box_train' / '0002_c2s1_000001_00.jpg'
    path.write_bytes(half_a_jpeg())
    dataset = Market1501(root, pipeline=LOAD)
    try:
        image = dataset[1]['img']
    except RuntimeError as error:
        assert str(path) in str(error)
    else:
        assert image.shape == (128, 64, 3)


def test_an_image_that_disappeared(root):
    dataset = Market1501(root, pipeline=LOAD)
    path = root / 'bounding_box_train' / '0003_c3s1_000001_00.jpg'
    path.unlink()
    with pytest.raises(RuntimeError, match='FileNotFoundError') as caught:
        dataset[2]
    assert str(path) in str(caught.value)


@pytest.mark.parametrize('cached', [False, True])
def test_only_images_are_opened(root, cached):
    """A pipe would hang the training, a bomb take the memory."""
    first, second, third = sorted((root / 'bounding_box_train').iterdir())
    pipeline = cache_pipeline(LOAD) if cached else LOAD
    dataset = Market1501(root, pipeline=pipeline)
    first.unlink()
    os.mkfifo(first)
    Image.new('1', (8000, 6251)).save(second, 'PNG')
    Image.new('L', (8, 8)).save(third, 'GIF')
    for index, message in enumerate(('a pipe', '8000 x 6251 pixels', 'another format')):
        with pytest.raises(RuntimeError, match=message):
            dataset[index]


def test_an_error_of_several_lines_is_said_in_one(root):
    def fail(data):
        raise cv2.error('OpenCV: error: (-5)\n> Overload failed:\n> why\n')

    with pytest.raises(RuntimeError, match=r'\(-5\) > Overload failed: > why\)'):
        Market1501(root, pipeline=[fail])[0]


def test_a_pipeline_that_gives_nothing(root):
    (root / 'bounding_box_train' / '0001_c1s1_000001_00.jpg').write_bytes(b'')
    dataset = Market1501(
        root, pipeline=[{'type': 'LoadImageFromFile', 'ignore_empty': True}]
    )
    with pytest.raises(RuntimeError, match='returned nothing') as caught:
        dataset[0]
    assert '0001_c1s1' in str(caught.value)


@pytest.mark.parametrize(
    ('shape', 'dtype'), [((9, 5), 'uint8'), ((9, 5, 4), 'uint8'), ((9, 5), 'uint16')]
)
def test_grey_rgba_and_16_bit_become_three_channels(root, shape, dtype):
    path = root / 'bounding_box_train' / '0000_c1s1_000001_00.png'
    image = np.full(shape, 200 if dtype == 'uint8' else 200 * 257, dtype)
    path.write_bytes(cv2.imencode('.png', image)[1].tobytes())
    dataset = Market1501(root, pipeline=LOAD)
    (index,) = [i for i in range(4) if dataset.column('pid')[i] == 0]
    loaded = dataset[index]['img']
    assert loaded.shape == (9, 5, 3)
    assert loaded.dtype == np.uint8
    assert (loaded == 200).all()


def test_base_class_wants_a_subclass():
    with pytest.raises(NotImplementedError, match='load_data_list'):
        ReIDDataset('anywhere')
