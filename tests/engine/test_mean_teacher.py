# SPDX-License-Identifier: Apache-2.0
"""Clustering by the averaged weights of EMAHook, and by mirror images."""

import numpy as np
import pytest
import torch
from mmengine.hooks import EMAHook

from mmreid_gcl.checkpoint import read_checkpoint
from mmreid_gcl.engine import PseudoLabelHook, extract_features
from mmreid_gcl.engine.hooks import pseudo_label_hook

from .tiny_training import (
    differences,
    disturbed,
    last_state,
    make_config,
    run,
    train,
)


def teacher_config(images, work_dir, **more):
    config = make_config(images, work_dir, **more)
    config.default_hooks.pseudo_labels.extract.ema = True
    config.default_hooks.ema = dict(type='EMAHook', momentum=0.3)
    return config


def test_the_average_embeds_once_there_is_one(images, tmp_path, monkeypatch):
    seen = []

    def extract(model, *args, **kwargs):
        weight = next(model.backbone.parameters()).detach().clone()
        seen.append((model, weight))
        return extract_features(model, *args, **kwargs)

    monkeypatch.setattr(pseudo_label_hook, 'extract_features', extract)
    runner = train(teacher_config(images, tmp_path))
    (hook,) = (h for h in runner.hooks if isinstance(h, EMAHook))
    assert seen[0][0] is runner.model  # before the first step
    assert all(model is hook.ema_model.module for model, _ in seen[1:])
    source = next(runner.model.backbone.parameters())
    average = next(hook.ema_model.module.backbone.parameters())
    assert not torch.equal(source, average)
    # what is saved and evaluated is the average
    state = read_checkpoint(tmp_path / 'epoch_3.pth')['state_dict']
    key = next(iter(dict(runner.model.named_parameters())))
    assert torch.equal(state[key], dict(hook.ema_model.module.named_parameters())[key])


def test_no_average_is_an_error_that_says_what_to_add(images, tmp_path):
    config = teacher_config(images, tmp_path)
    config.default_hooks.pop('ema')
    with pytest.raises(ValueError, match=r'ema=True.*no EMAHook. Add'):
        train(config)


def test_mirror_images_count_in_clustering_alone(images, tmp_path, monkeypatch):
    flips = []

    def extract(model, *args, **kwargs):
        flips.append(model.flip_test)
        return extract_features(model, *args, **kwargs)

    monkeypatch.setattr(pseudo_label_hook, 'extract_features', extract)
    config = make_config(images, tmp_path)
    config.default_hooks.pseudo_labels.extract.flip = True
    runner = train(config)
    assert set(flips) == {True} and runner.model.flip_test is False
    hook = PseudoLabelHook(lambda x: np.zeros(len(x), int), extract=dict(flip=True))
    assert 'flip' not in hook.extract


@pytest.mark.parametrize('inside', [False, True])
def test_a_killed_run_goes_on_to_the_same_weights(images, tmp_path, inside):
    def make(name, **more):
        config = teacher_config(images, tmp_path / name, **more)
        if inside:
            config.default_hooks.checkpoint.update(interval=3, by_epoch=False)
        return config

    assert run(make('whole')) == 0
    assert run(disturbed(make('killed'), 'before_train_iter', 8)) == -9
    assert run(make('killed', resume=True)) == 0
    kept = ('state_dict', 'ema_state_dict', 'optimizer', 'pseudo_labels')
    whole, killed = (last_state(tmp_path / n, kept) for n in ('whole', 'killed'))
    assert differences(killed, whole) == []
