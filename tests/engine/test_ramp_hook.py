# SPDX-License-Identifier: Apache-2.0
"""A temperature of GCL that sharpens over the epochs, and two views of an image."""

import pytest

from mmreid_gcl.clustering import Labeller

from .tiny_training import (
    EPOCHS,
    differences,
    disturbed,
    last_state,
    make_config,
    run,
    train,
)


def ramped(images, work_dir, name='relation_neck.temperature', **more):
    config = make_config(images, work_dir, **more)
    config.custom_hooks = [dict(type='RampHook', name=name, end=20)]
    return config


@pytest.mark.parametrize('ema', [False, True])
def test_the_clustering_sees_the_temperature_of_its_epoch(
    images, tmp_path, monkeypatch, ema
):
    seen = []

    def label(self, features, records, neck, epoch, **kwargs):
        seen.append(neck.temperature)
        return before(self, features, records, neck, epoch, **kwargs)

    before = Labeller.__call__
    monkeypatch.setattr(Labeller, '__call__', label)
    config = ramped(images, tmp_path)
    if ema:
        config.default_hooks.pseudo_labels.extract.ema = True
        config.default_hooks.ema = dict(type='EMAHook', momentum=0.3)
    runner = train(config)
    assert EPOCHS == 3 and seen == [5, 12.5, 20]  # from the config's 5 by equal steps
    assert runner.model.relation_neck.temperature == 20


@pytest.mark.parametrize(
    ('name', 'words'),
    [
        ('relation_neck.heat', "a GCLNeck of the model has no 'heat'"),
        ('relation_nek.temperature', "a UnsupervisedReID of the model has no 'rel"),
        ('', "has no ''"),
        ('head.topk', 'which is 2 in the model. Expected a float'),
        ('flip_test', 'which is False'),
    ],
)
def test_what_is_no_float_is_refused(images, tmp_path, name, words):
    with pytest.raises(ValueError, match=words):
        train(ramped(images, tmp_path, name))


def test_a_model_without_the_neck_says_so(images, tmp_path):
    config = ramped(images, tmp_path)
    config.model.relation_neck = config.model.relation_head = None
    with pytest.raises(ValueError, match=r'a NoneType of the model.*with a relation n'):
        train(config)


def two_views(images, work_dir, **more):
    """Temperature and views, inside epochs."""
    config = ramped(images, work_dir, workers=1, **more)
    pipeline = config.train_dataloader.dataset.pipeline
    pipeline.insert(1, dict(type='WeakView'))
    pipeline[-1].algorithm_keys = ('weak_view',)
    head = config.model.head
    config.model.head = [head, dict(type='InstanceContrastHead', consistency=1.0)]
    config.default_hooks.checkpoint.update(interval=3, by_epoch=False)
    return config


def test_a_killed_run_goes_on_to_the_same_weights(images, tmp_path):
    assert run(two_views(images, tmp_path / 'whole')) == 0
    killed = two_views(images, tmp_path / 'killed')
    assert run(disturbed(killed, 'before_train_iter', 8)) == -9
    assert run(two_views(images, tmp_path / 'killed', resume=True)) == 0
    kept = ('state_dict', 'optimizer', 'pseudo_labels')
    whole, resumed = (last_state(tmp_path / n, kept) for n in ('whole', 'killed'))
    assert differences(resumed, whole) == []
