# SPDX-License-Identifier: Apache-2.0
from typing import ClassVar

import numpy as np
import pytest
import torch

from mmreid_gcl.clustering import labeller
from mmreid_gcl.engine import PseudoLabelHook
from mmreid_gcl.registry import TASK_UTILS

from .tiny_training import draw_images, make_config, train


class Recorder:
    """A clusterer that keeps what it was given; pairs of rows are clusters."""

    seen: ClassVar[list] = []

    def __init__(self, **others):
        self.seen.clear()  # others: a config dict merges, it does not replace

    def __call__(self, features):
        self.seen.append(features.copy())
        return np.arange(len(features)) // 2


def test_reaches_clusterer_and_graphs_alone(monkeypatch):
    class Neck(torch.nn.Linear):
        def refine(self, features, neighbours):
            assert torch.equal(features, x)  # GCL refines the embeddings themselves
            return torch.cat([features, features + 1], dim=1)

    x = torch.arange(12.0).reshape(4, 3)
    clusterer, built_from = Recorder(), []

    def build_graphs(features, records, epoch):
        built_from.append(features.copy())
        return np.zeros((4, 1), np.int64)

    def negative(array, camids, mode, tracks):
        assert camids is records['camid'] and mode == 'mean' and tracks is None
        return -array

    monkeypatch.setattr(labeller, 'normalize_by_camera', negative)
    records = dict(camid=np.arange(4))
    label = labeller.Labeller(clusterer, build_graphs, camera_norm='mean')
    outcome = label(x, records, Neck(1, 1), compare=True)
    np.testing.assert_array_equal(built_from[0], -x.numpy())
    np.testing.assert_array_equal(
        clusterer.seen[0], -outcome.features['relation'].numpy()
    )
    np.testing.assert_array_equal(clusterer.seen[1], -x.numpy())
    assert torch.equal(outcome.features['embedding'], x)


def _clustered(root, work_dir, camera_norm):
    config = make_config(root, work_dir)
    config.default_hooks.pseudo_labels.update(
        clusterer=dict(type='Recorder'), camera_norm=camera_norm
    )
    config.train_cfg.max_epochs = 1
    train(config)
    return Recorder.seen[:2]


def test_in_a_training(tmp_path):
    TASK_UTILS.register_module(module=Recorder)
    try:
        root = draw_images(tmp_path / 'data')
        before = _clustered(root, tmp_path / 'a', None)
        after = _clustered(root, tmp_path / 'b', 'mean')
    finally:
        TASK_UTILS.module_dict.pop('Recorder')
    for x, centred in zip(before, after):
        # 12 images a camera are few: each has the mean of all subtracted
        expected = x - x.mean(axis=0)
        expected /= np.linalg.norm(expected, axis=1, keepdims=True)
        np.testing.assert_allclose(centred, expected, atol=1e-5)
        assert np.abs(centred - x).max() > 0.01


def test_unknown_mode():
    with pytest.raises(ValueError, match=r"camera_norm must be one of .* 'median'"):
        PseudoLabelHook(
            dict(type='DBSCANClusterer'),
            dict(pipeline=[dict(type='PackInputs')]),
            camera_norm='median',
        )
