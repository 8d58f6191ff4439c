# SPDX-License-Identifier: Apache-2.0
"""Single modules in somebody's mmpretrain project."""

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner
from mmpretrain.datasets import CustomDataset
from mmpretrain.registry import DATASETS

import mmreid_gcl
from mmreid_gcl.evaluation import evaluate_ranking

CONFIG = """
default_scope = 'mmpretrain'
custom_imports = dict(imports=['mmreid_gcl'])
data_root = '{root}'
work_dir = '{root}/work_dir'
model = dict(
    type='ImageClassifier',
    backbone=dict(type='ResNet', depth=18, stem_channels=4, base_channels=4),
    neck=[
        dict(type='GlobalAveragePooling'),
        dict(type='mmreid_gcl.GCLNeck', in_channels=32),
    ],
    head=dict(type='LinearClsHead', num_classes=5, in_channels=64, topk=(1, )))
data_preprocessor = dict(num_classes=5)
train_dataloader = dict(
    batch_size=6, num_workers=0,
    sampler=dict(type='mmreid_gcl.PKSampler',
                 num_identities=3, num_instances=2, num_batches=2),
    dataset=dict(
        type='CustomDataset', data_root=data_root,
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='RandomFlip', prob=0.5),
            dict(type='PackInputs')]))
val_dataloader = dict(
    batch_size=7, num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='ClassesAsPeople', data_root=data_root,
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='PackInputs',
                 meta_keys=('sample_idx', 'pid', 'camid', 'is_query'))]))
val_evaluator = dict(type='mmreid_gcl.ReIDMetric', feature_key='pred_score')
optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.01))
train_cfg = dict(by_epoch=True, max_epochs=1, val_interval=1)
val_cfg = dict()
randomness = dict(seed=3)
"""


class ClassesAsPeople(CustomDataset):
    """A class is a person, seen by three cameras in turn."""

    def load_data_list(self):
        samples = super().load_data_list()
        for i, sample in enumerate(samples):
            sample.update(pid=sample['gt_label'], camid=i % 3, is_query=i % 4 == 0)
        return samples


@pytest.fixture
def root(tmp_path):
    rng = np.random.default_rng(0)
    for label in range(5):
        folder = tmp_path / 'data' / f'class_{label}'
        folder.mkdir(parents=True)
        for i in range(6):
            image = rng.integers(0, 256, (32, 16, 3), np.uint8)
            assert cv2.imwrite(str(folder / f'{i}.png'), image)
    DATASETS.register_module(module=ClassesAsPeople)
    yield tmp_path / 'data'
    DATASETS._module_dict.pop('ClassesAsPeople')


def test_train_and_validate(root):
    path = root / 'config.py'
    path.write_text(CONFIG.format(root=root.as_posix()))
    runner = Runner.from_cfg(Config.fromfile(path))
    assert type(runner.model.neck[1]) is mmreid_gcl.GCLNeck
    before = runner.model.neck[1].theta.linear.weight.detach().clone()
    drawn = []
    forward = runner.model.loss

    def loss(inputs, data_samples):
        drawn.append([int(sample.gt_label) for sample in data_samples])
        return forward(inputs, data_samples)

    runner.model.loss = loss
    runner.train()
    assert type(runner.train_dataloader.sampler) is mmreid_gcl.PKSampler
    assert runner.iter == 2 and len(drawn) == 2
    for labels in drawn:
        assert len(labels) == 6 and labels[::2] == labels[1::2]
        assert len(set(labels)) == 3
    assert not torch.equal(runner.model.neck[1].theta.linear.weight, before)

    # what the metric said, from the features themselves
    model = runner.model.eval()
    features, facts = [], []
    with torch.no_grad():
        for batch in runner.val_dataloader:
            for sample in model.val_step(batch):
                features.append(sample.pred_score)
                facts.append((sample.pid, sample.camid, sample.is_query))
    features = torch.stack(features)
    pids, camids, is_query = (np.array(column) for column in zip(*facts))
    assert len(features) == 30 and is_query.sum() == 8
    expected = evaluate_ranking(
        features[is_query],
        pids[is_query],
        camids[is_query],
        features[~is_query],
        pids[~is_query],
        camids[~is_query],
    )
    scalars = runner.message_hub.log_scalars
    assert set(expected) == {'mAP', 'mINP', 'R1', 'R5', 'R10'}
    for name, value in expected.items():
        assert scalars[f'val/reid/{name}'].current() == pytest.approx(value)
    assert 0 < expected['mAP'] < 100
