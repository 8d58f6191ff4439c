# SPDX-License-Identifier: Apache-2.0
"""The hooks know heads by their contract, and configs of before there were two."""

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmpretrain.structures import DataSample

from mmreid_gcl.apis import load_config
from mmreid_gcl.config_parts import find_pseudo_label_hook, name_hooks
from mmreid_gcl.engine import MemoryHook, PseudoLabelHook
from mmreid_gcl.models import BaseMemoryHead, SelectiveMemoryHead
from mmreid_gcl.registry import MODELS
from tests.models.tiny import model_cfg

from .tiny_training import build, make_config, outcome, train


class WatchedHead(SelectiveMemoryHead):
    """Remembers what the model hands it."""

    needs = ('index', 'camid')
    seen = []

    def build(self, features, labels, records):
        self.records = records
        return super().build(features, labels, records)

    def compute_loss(self, features, labels, *needed):
        self.seen.append((labels.clone(), *needed))
        return super().compute_loss(features, labels)

    def updated(self, features, labels, *needed):
        assert len(needed) == 2
        return super().updated(features, labels)


@pytest.fixture
def watched():
    MODELS.register_module(module=WatchedHead)
    WatchedHead.seen = []
    yield
    MODELS.module_dict.pop('WatchedHead')


def with_head(images, work_dir, meta_keys, **more):
    config = make_config(images, work_dir, **{'train_cfg.max_epochs': 1}, **more)
    config.model.head.type = 'WatchedHead'
    config.train_dataloader.dataset.pipeline[-1].meta_keys = meta_keys
    return config


def test_a_head_gets_index_and_camera_of_every_image(images, tmp_path, watched):
    keys = ('sample_idx', 'img_path', 'camid')
    runner = train(with_head(images, tmp_path, keys))
    dataset = runner.train_loop.dataloader.dataset
    labels = next(h.labels for h in runner.hooks if isinstance(h, PseudoLabelHook))
    assert len(WatchedHead.seen) == 4
    for found, index, camid in WatchedHead.seen:
        assert found.tolist() == labels[index].tolist()
        assert camid.tolist() == dataset.column('camid')[index].tolist()
    records = {'img_path', 'camid', 'sequence', 'frame', 'track', 'moment'}
    assert set(runner.model.head.records) == records


def test_an_old_clusterer_is_resumed_as_before(images, tmp_path):
    class Old:
        seen = None

        def __call__(self, features):
            return np.arange(len(features)) // 3

        def resume(self, labels):
            Old.seen = labels

    options = {'train_cfg.max_epochs': 1}
    train(make_config(images, tmp_path, **options))
    runner = build(make_config(images, tmp_path, resume=True, **options))
    hook = next(hook for hook in runner.hooks if isinstance(hook, PseudoLabelHook))
    hook.labeller.clusterer = Old()
    runner.train()
    assert len(Old.seen) == len(hook.labels)


def test_a_missing_key_is_named(images, tmp_path, watched):
    config = with_head(images, tmp_path, ('sample_idx', 'img_path'))
    with pytest.raises(RuntimeError, match=r"needs 'camid'.*meta_keys"):
        train(config)


def old(config):
    """With the hooks in a list, as before they had names."""
    moved = [
        config.default_hooks.pop(name)
        for name in ('position_seed', 'finite_loss', 'pseudo_labels')
    ]
    del config.default_hooks['memory']
    config.custom_hooks = moved
    return config


def test_configs_with_custom_hooks_train_as_before(images, reference, tmp_path):
    train(old(make_config(images, tmp_path)))
    found = outcome(tmp_path)
    assert found.keys() == reference.keys()
    for name, value in reference['state_dict'].items():
        assert torch.equal(found['state_dict'][name], value), name


def test_the_runner_says_what_to_write_once(images, tmp_path, caplog):
    runner = build(old(make_config(images, tmp_path)))
    said = []
    runner.logger.warning = said.append
    runner.call_hook('before_run')
    (text,) = said
    assert 'default_hooks = dict(pseudo_labels=' in text and 'memory=' in text
    assert sum(isinstance(hook, MemoryHook) for hook in runner.hooks) == 1


def test_load_config_gives_hooks_their_names(images, tmp_path, monkeypatch):
    import mmreid_gcl.config_parts as module

    said = []
    monkeypatch.setattr(module, 'print_log', lambda text, **_: said.append(text))
    config = old(make_config(images, tmp_path))
    clusterer = config.custom_hooks[2].clusterer
    name_hooks(config)
    assert config.default_hooks.pseudo_labels.clusterer == clusterer
    assert config.default_hooks.memory.type == 'MemoryHook'
    assert [hook.type for hook in config.custom_hooks] == ['FiniteLossHook']
    (text,) = said
    assert 'pseudo_labels=dict(...)' in text
    name_hooks(config)
    assert len(said) == 1


@pytest.mark.parametrize('nothing', [None, {}])
def test_a_hook_that_is_nothing_is_left_out(images, tmp_path, nothing):
    config = make_config(images, tmp_path)
    config.default_hooks.memory = nothing
    name_hooks(config)
    assert 'memory' not in config.default_hooks
    assert 'pseudo_labels' in config.default_hooks


def test_a_model_without_memories_is_refused(images, tmp_path):
    config = make_config(images, tmp_path)
    config.model.relation_neck = config.model.relation_head = None
    config.model.head = dict(type='TripletHead', feature='embedding')
    with pytest.raises(TypeError, match=r'MemoryHook.*default_hooks.memory=None'):
        train(config)


def test_a_feature_that_there_is_not_is_named(images, tmp_path):
    config = make_config(images, tmp_path)
    config.model.head.feature = 'pooled'
    with pytest.raises(
        ValueError, match=r"'pooled'; of the training set there are emb"
    ):
        train(config)


def test_memories_that_are_not_finite_keep_what_they_were():
    class Head(BaseMemoryHead):
        memories = ('memory', 'count')

        def __init__(self):
            super().__init__(2)
            self.count = torch.zeros((), dtype=torch.int64)

        def build(self, features, labels, records):
            return dict(memory=features, count=torch.tensor(0))

        def compute_loss(self, features, labels, *needed):
            return dict(loss_a=features.sum(), loss_b=features.sum())

        def updated(self, features, labels, *needed):
            return dict(count=self.count + len(features))

    head = Head()
    with pytest.raises(RuntimeError, match='memory is empty'):
        head.loss(torch.ones(1, 2), torch.zeros(1))
    head.init_memory(torch.ones(3, 2), torch.zeros(3))
    for value, expected in ((1.0, 2), (np.nan, 2), (np.inf, 2), (1.0, 4)):
        head.loss(torch.full((2, 2), value), torch.zeros(2))
        head.apply_update()
        assert int(head.count) == expected
    head.loss(torch.ones(2, 2), torch.zeros(2))
    head.loss(torch.ones(1, 2), torch.zeros(1))
    head.forget_last()
    head.apply_update()
    assert int(head.count) == 6
    with pytest.raises(ValueError, match='in_channels=2'):
        head.init_memory(torch.ones(3, 5), torch.zeros(3))


def test_settings_of_an_old_config_are_not_mixed_with_those_of_its_base():
    cfg = load_config('gcl_market')
    hook = dict(
        type='PseudoLabelHook',
        clusterer=dict(type='HDBSCANClusterer', max_distance=0.8),
        graphs=dict(type='NeighbourGraphs', size=8),
    )
    cfg.custom_hooks = [dict(type='PositionSeedHook'), hook]
    name_hooks(cfg)
    assert cfg.default_hooks.pseudo_labels == hook and cfg.custom_hooks == []


def test_hooks_may_be_given_as_classes(images, tmp_path):
    config = make_config(images, tmp_path)
    config.default_hooks.pseudo_labels.type = PseudoLabelHook
    config.default_hooks.memory.type = MemoryHook
    before = dict(config.default_hooks)
    name_hooks(config)
    assert config.default_hooks == before
    assert find_pseudo_label_hook(config).clusterer.type == 'DBSCANClusterer'


def test_several_heads_of_one_type_have_losses_of_their_own():
    cfg = model_cfg(relation=False)
    triplet = dict(type='TripletHead')
    cfg['head'] = [dict(triplet, feature='pooled'), dict(triplet, feature='normed')]
    model = MODELS.build(cfg)
    samples = [DataSample().set_gt_label(i // 2) for i in range(4)]
    losses = model.loss(torch.randn(4, 3, 32, 16), samples)
    assert set(losses) == {'pooled_loss_triplet', 'normed_loss_triplet'}
    cfg['head'] = [triplet, triplet]
    with pytest.raises(ValueError, match='one type on one feature'):
        MODELS.build(cfg)


def test_sampler_and_head_agree_about_outliers(images, tmp_path):
    config = make_config(images, tmp_path)
    config.train_dataloader.sampler.outliers = 'own_class'
    with pytest.raises(ValueError, match=r"SelectiveMemoryHead needs.*'drop'"):
        train(config)


def test_identities_and_clusters_exclude_each_other(images, tmp_path):
    config = make_config(images, tmp_path)
    config.train_dataloader.sampler.labels = 'pid'
    with pytest.raises(ValueError, match=r"labels='pid'.*pseudo_labels=None"):
        train(config)


def test_memories_of_other_heads_are_refused(images, tmp_path):
    hook = MemoryHook()
    hook._resumed = [dict(memory=torch.zeros(1, 2), recorded=[])]
    with pytest.raises(ValueError, match='other memory heads'):
        hook._restore([SelectiveMemoryHead(2), SelectiveMemoryHead(2)])


def test_any_hook_may_be_set_to_none():
    """mmengine alone takes None for its own ones."""
    hooks = dict(ema=None, mine={}, logger=None, kept=dict(type='EMAHook'))
    config = Config(dict(default_hooks=hooks))
    name_hooks(config)
    assert config.default_hooks == dict(logger=None, kept=dict(type='EMAHook'))
