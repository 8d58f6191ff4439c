# SPDX-License-Identifier: Apache-2.0
"""The whole loop through the Runner, on people rendered for the test."""

import re
import shutil

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner

from .synthetic_training import ROOT, small_config, write_people


@pytest.fixture(scope='module')
def people(tmp_path_factory):
    return write_people(tmp_path_factory.mktemp('people') / 'data')


def scalars(runner, name):
    """The values that a run gave to one scalar, in order."""
    import json
    from pathlib import Path

    lines = Path(runner.log_dir, 'vis_data', 'scalars.json').read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    return [row[name] for row in rows if name in row]


def weights(runner):
    return {k: v.clone() for k, v in runner.model.state_dict().items()}


@pytest.fixture(scope='module')
def trained(people, tmp_path_factory):
    work_dir = tmp_path_factory.mktemp('trained')
    overrides = {
        'train_cfg.max_epochs': 6,
        'train_cfg.val_interval': 6,
        'default_hooks': dict(logger=dict(type='LoggerHook', interval=5)),
        'visualizer': dict(
            type='Visualizer', vis_backends=[dict(type='LocalVisBackend')]
        ),
    }
    runner = Runner.from_cfg(small_config(people, work_dir, **overrides))
    before = runner.test()
    runner.train()
    return runner, before


def test_loss_falls_labels_get_better_and_map_rises(trained):
    runner, before = trained
    loss = scalars(runner, 'loss')
    # labels are new every epoch, so compare within the last one and over all
    assert loss[-1] < loss[-2] < loss[0]
    ari = scalars(runner, 'pseudo_labels/ari')
    assert len(ari) == 6
    assert ari[-1] > ari[0] + 0.05
    after = scalars(runner, 'reid/mAP')[-1]
    assert after > before['reid/mAP'] + 3


def test_scalars_say_what_the_hook_promises(trained):
    runner, _ = trained
    for name in ('clusters', 'outliers', 'size_max', 'nmi', 'precision', 'recall'):
        assert len(scalars(runner, f'pseudo_labels/{name}')) == 6
    assert len(scalars(runner, 'pseudo_labels/unrefined_ari')) == 6
    # the first epoch has none before it
    assert len(scalars(runner, 'pseudo_labels/stability')) == 5


def test_checkpoint_reloads_to_the_same_metrics(trained, people, tmp_path):
    runner, _ = trained
    cfg = small_config(people, tmp_path, load_from=f'{runner.work_dir}/epoch_6.pth')
    again = Runner.from_cfg(cfg).test()
    assert again['reid/mAP'] == scalars(runner, 'reid/mAP')[-1]


def short_run(data_root, work_dir, change=None, **overrides):
    overrides = {
        'train_cfg.max_epochs': 2,
        'train_dataloader.sampler.num_batches': 3,
        'val_dataloader': None,
        'val_cfg': None,
        'val_evaluator': None,
        **overrides,
    }
    cfg = small_config(data_root, work_dir, **overrides)
    runner = Runner.from_cfg(change(cfg) if change else cfg)
    runner.train()
    return runner


def recipe(cfg):
    """The small training with all parts of best_synthetic.py, and a mean teacher."""
    best = Config.fromfile(ROOT / 'configs/best/best_synthetic.py')
    for head in best.model.head:
        if 'in_channels' in head:
            head.in_channels = 128
    cfg.model.head = best.model.head
    cfg.model.relation_neck = cfg.model.relation_head = None
    cfg.model.neck.pooling = best.model.neck.pooling
    cfg.train_dataloader.dataset.pipeline[-1].meta_keys = ('sample_idx', 'camid')
    spread = best.train_dataloader.sampler.spread_cameras
    cfg.train_dataloader.sampler.spread_cameras = spread
    hook = best.default_hooks.pseudo_labels
    assert hook.clusterer.type == 'TrackClusterer' and hook.extract.flip
    hook.extract.update(batch_size=64, num_workers=0, ema=True)
    cfg.default_hooks.pseudo_labels = hook
    cfg.default_hooks.ema = dict(type='EMAHook', momentum=0.02)
    return cfg


@pytest.mark.parametrize('change', [None, recipe], ids=['GCL', 'recipe'])
def test_garbled_training_identities_change_nothing(people, tmp_path, change):
    garbled = tmp_path / 'garbled'
    shutil.copytree(people, garbled)
    folder = garbled / 'bounding_box_train'
    names = sorted(path.name for path in folder.iterdir())
    rng = np.random.default_rng(3)
    table = (garbled / 'tracks.csv').read_text()
    for name, pid in zip(names, rng.integers(1, 9000, len(names))):
        rest = re.sub(r'^\d+', '', name)
        (folder / name).rename(folder / f'{pid:04d}{rest}')
        # a tracker's table names the file; its numbers stay
        path = f'{folder.name}/{name},'
        assert table.count(path) == 1
        table = table.replace(path, f'{folder.name}/{pid:04d}{rest},')
    (garbled / 'tracks.csv').write_text(table)
    runs = [
        short_run(root, tmp_path / f'run{i}', change=change)
        for i, root in enumerate((people, garbled))
    ]
    first, second = map(weights, runs)
    assert first.keys() == second.keys()
    for key, value in first.items():
        assert torch.equal(value, second[key]), key


def test_workers_and_persistence_change_nothing(people, tmp_path):
    runs = [
        short_run(people, tmp_path / 'none'),
        short_run(
            people,
            tmp_path / 'persistent',
            **{
                'train_dataloader.num_workers': 2,
                'train_dataloader.persistent_workers': True,
            },
        ),
    ]
    first, second = map(weights, runs)
    for key, value in first.items():
        assert torch.equal(value, second[key]), key


def test_a_wrong_batch_size_is_refused_with_the_right_one(people, tmp_path):
    with pytest.raises(ValueError, match=r'batch_size is 16.*Set batch_size=32'):
        short_run(people, tmp_path, **{'train_dataloader.batch_size': 16})


def test_no_cluster_in_the_first_epoch_is_a_clear_error(people, tmp_path):
    overrides = {'default_hooks.pseudo_labels.clusterer.min_samples': 1000}
    with pytest.raises(RuntimeError, match=r'no cluster in the first epoch.*eps.*k1'):
        short_run(people, tmp_path, **overrides)


def test_without_clusters_later_on_the_labels_stay(people, tmp_path):
    cfg = small_config(people, tmp_path)
    runner = Runner.from_cfg(cfg)
    hook = next(h for h in runner.hooks if type(h).__name__ == 'PseudoLabelHook')
    clusterer, calls = hook.labeller.clusterer, []

    def once(features):
        calls.append(len(features))
        labels = clusterer(features)
        return labels if len(calls) <= 2 else np.full_like(labels, -1)

    hook.labeller.clusterer = once
    runner.train_loop._max_epochs = 2
    runner.train_loop.dataloader.sampler.num_batches = 2
    runner.train()
    assert len(calls) == 4  # refined and unrefined, in two epochs
    assert (hook.labels >= 0).any()


@pytest.mark.parametrize('relation', [True, False])
def test_models_without_refinement(people, tmp_path, relation):
    overrides = {'default_hooks.pseudo_labels.refine': False}
    if not relation:
        overrides.update({'model.relation_neck': None, 'model.relation_head': None})
    runner = short_run(people, tmp_path, **overrides)
    clusters = len(runner.model.head.memory)
    assert clusters > 1
    if relation:
        assert runner.model.relation_head.memory.shape == (clusters, 256)
