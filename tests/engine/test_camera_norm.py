# SPDX-License-Identifier: Apache-2.0
from typing import ClassVar

import numpy as np
import pytest
import torch

from mmreid_gcl.engine import PseudoLabelHook
from mmreid_gcl.engine.pseudo_labels import cluster_embeddings
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


def test_reaches_clusterer_and_graphs_alone():
    class Neck(torch.nn.Linear):
        def refine(self, features, neighbours):
            assert torch.equal(features, x)  # GCL refines the embeddings themselves
            return torch.cat([features, features + 1], dim=1)

    x = torch.arange(12.0).reshape(4, 3)
    clusterer, built_from = Recorder(), []

    def build_graphs(features):
        built_from.append(features.copy())
        return np.zeros((4, 1), np.int64)

    outcome = cluster_embeddings(
        x,
        clusterer,
        Neck(1, 1),
        build_graphs,
        compare_unrefined=True,
        normalize=lambda array: -array,
    )
    np.testing.assert_array_equal(built_from[0], -x.numpy())
    np.testing.assert_array_equal(clusterer.seen[0], -outcome.refined.numpy())
    np.testing.assert_array_equal(clusterer.seen[1], -x.numpy())
    assert torch.equal(outcome.features, x)


def test_in_a_training(tmp_path):
    TASK_UTILS.register_module(module=Recorder)
    try:
        config = make_config(draw_images(tmp_path / 'data'), tmp_path / 'run')
        hook = config.custom_hooks[-1]
        hook.update(clusterer=dict(type='Recorder'), camera_norm='mean')
        config.train_cfg.max_epochs = 1
        train(config)
    finally:
        TASK_UTILS.module_dict.pop('Recorder')
    refined, plain = Recorder.seen[:2]
    assert refined.shape == (36, 128) and plain.shape == (36, 64)
    for features in (refined, plain):
        # these cameras have 12 images each, so all are of mean zero together
        np.testing.assert_allclose(features.mean(axis=0), 0, atol=1e-5)
        assert np.abs(features).max() > 1e-3


def test_unknown_mode():
    with pytest.raises(ValueError, match=r"camera_norm must be one of .* 'median'"):
        PseudoLabelHook(
            dict(type='DBSCANClusterer'),
            dict(pipeline=[dict(type='PackInputs')]),
            camera_norm='median',
        )
