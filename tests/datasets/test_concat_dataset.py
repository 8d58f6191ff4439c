# SPDX-License-Identifier: Apache-2.0
"""Several data sets in one training."""

import numpy as np
import pytest
from mmengine.dataset import BaseDataset, ConcatDataset, RepeatDataset
from mmengine.registry import DefaultScope
from torch.utils.data import DataLoader

from mmreid_gcl.datasets import PersonFolder, PKSampler, SampleIndex
from mmreid_gcl.datasets.concat_dataset import ConcatDataset as OurConcat
from mmreid_gcl.datasets.concat_dataset import require_reid_dataset
from mmreid_gcl.registry import DATASETS

from .layouts import write_image, write_images

PIPELINE = [
    dict(type='LoadImageFromFile'),
    dict(type='PackInputs', meta_keys=('img_path', 'pid', 'camid', 'sample_idx')),
]


@pytest.fixture
def parts(tmp_path):
    """Cameras 0-1, people 3 and 7; cameras 0-2, unlabelled; camera 5, person 2."""
    write_image(tmp_path / 'm/bounding_box_train/0003_c1s1_000001_00.jpg', value=10)
    write_image(tmp_path / 'm/bounding_box_train/0007_c2s1_000001_00.jpg', value=20)
    for i, camera in enumerate('abc'):
        write_image(tmp_path / 'f' / camera / '1.jpg', value=30 + 10 * i)
    write_image(tmp_path / 'n/bounding_box_train/0002_c6s1_000001_00.jpg', value=60)
    return [
        dict(type='Market1501', data_root=str(tmp_path / 'm')),
        dict(type='PersonFolder', data_root=str(tmp_path / 'f')),
        dict(type='Market1501', data_root=str(tmp_path / 'n')),
    ]


@pytest.fixture
def dataset(parts):
    cfg = dict(type='ConcatDataset', datasets=parts, split='train', pipeline=PIPELINE)
    with DefaultScope.overwrite_default_scope('mmreid_gcl'):
        return DATASETS.build(cfg)


def test_cameras_and_people_stay_apart(dataset):
    assert isinstance(dataset, OurConcat) and len(dataset) == 6
    assert dataset.column('camid').tolist() == [0, 1, 2, 3, 4, 10]
    assert dataset.column('pid').tolist() == [3, 7, -1, -1, -1, 10]
    assert dataset.column('img_path')[3].endswith('f/b/1.jpg')
    infos = [dataset.get_data_info(i) for i in range(6)]
    for name in ('pid', 'camid', 'img_path', 'sequence', 'frame'):
        assert [info[name] for info in infos] == dataset.column(name).tolist()
    with pytest.raises(KeyError, match="'name'"):
        dataset.column('name')
    with pytest.raises(IndexError, match='6 of 6'):
        dataset[6]


def test_tracks_of_two_folders_stay_apart(tmp_path):
    for folder, names in (('a', ['1_5', '2_5', '3_8']), ('b', ['1_5', '2_x'])):
        write_images(tmp_path / folder, [f'{name}.jpg' for name in names])
    pattern = r'(?P<frame>\d)_(?P<track>\d)?'
    parts = [PersonFolder(tmp_path / name, pattern=pattern) for name in 'ab']
    both = OurConcat(parts)
    assert both.column('track').tolist() == [0, 0, 1, 2, -1]
    assert [both.get_data_info(i)['track'] for i in range(5)] == [0, 0, 1, 2, -1]


def test_names_are_those_of_the_parts(dataset, parts):
    names = [dataset.camera_name(c) for c in dataset.column('camid').tolist()]
    assert names == ['m/c1', 'm/c2', 'f/a', 'f/b', 'f/c', 'n/c6']
    people = [dataset.identity_name(p) for p in dataset.column('pid').tolist()]
    assert people == ['m/3', 'm/7', '', '', '', 'n/2']
    twice = OurConcat([parts[1], parts[1]])
    names = [twice.camera_name(c) for c in twice.column('camid').tolist()]
    assert names == ['1/a', '1/b', '1/c', '2/a', '2/b', '2/c']
    assert OurConcat([parts[1]]).camera_name(1) == 'b'


def test_a_draw_has_its_label_and_its_pixels(dataset):
    data = dataset[SampleIndex(5, label=4, seed=9)]
    sample = data['data_samples']
    assert sample.gt_label.item() == 4
    assert (sample.pid, sample.camid, sample.sample_idx) == (10, 10, 5)
    assert abs(float(data['inputs'].float().mean()) - 60) < 2
    assert 'gt_label' not in dataset[-1]['data_samples']


def test_through_sampler_and_view(dataset):
    sampler = PKSampler(dataset, 2, 2, num_batches=3, spread_cameras=True, seed=0)
    sampler.set_labels([0, 0, 1, 1, 1, -1])
    loader = DataLoader(dataset, batch_size=4, sampler=sampler, collate_fn=list)
    for batch in loader:
        for data in batch:
            sample = data['data_samples']
            value = float(data['inputs'].float().mean())
            assert round(value / 10) - 1 == sample.sample_idx
            assert sample.gt_label.item() == int(sample.sample_idx > 1)
    view = dataset.with_pipeline([dict(type='LoadImageFromFile')])
    assert set(view[4]) >= {'img', 'pid'} and 'inputs' in dataset[4]
    assert np.array_equal(view.column('camid'), dataset.column('camid'))


def test_what_cannot_be_joined(parts, tmp_path):
    with pytest.raises(ValueError, match=r'datasets\.0\.data_root=crops'):
        OurConcat(parts, data_root='crops')
    with pytest.raises(ValueError, match='empty'):
        OurConcat([])
    with pytest.raises(TypeError, match="no argument 'camera'"):
        OurConcat(parts, camera=1)
    plain = BaseDataset(data_prefix=dict(), lazy_init=True)
    with pytest.raises(TypeError, match=r'datasets\[0\] is a BaseDataset'):
        OurConcat([plain])


def test_wrapped_data_sets_are_named(tmp_path):
    write_images(tmp_path / 'a', ['1.jpg'])
    folder = PersonFolder(tmp_path)
    for wrapped, message in (
        (RepeatDataset(folder, 3), 'RepeatDataset.*num_batches'),
        (ConcatDataset([folder]), r"type='ConcatDataset'"),
        ([1, 2], 'a list'),
    ):
        with pytest.raises(TypeError, match=message):
            require_reid_dataset(wrapped, 'train_dataloader.dataset')
        if not isinstance(wrapped, list):  # a list of anything can be sampled
            with pytest.raises(TypeError, match='PKSampler: the data set is a'):
                PKSampler(wrapped, 1, 1)
    require_reid_dataset(folder, 'x')
    require_reid_dataset(OurConcat([folder]), 'x')
