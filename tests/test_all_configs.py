# SPDX-License-Identifier: Apache-2.0
"""Every config can be read, and its parts can be built without images."""

import ast
from pathlib import Path

import pytest
import torch
from mmengine.registry import DefaultScope

from mmreid_gcl.apis import load_config
from mmreid_gcl.engine import MemoryHook
from mmreid_gcl.registry import (
    DATA_SAMPLERS,
    DATASETS,
    HOOKS,
    METRICS,
    MODELS,
    TRANSFORMS,
)

ROOT = Path(__file__).resolve().parents[1]
CONFIGS = sorted(
    path for path in (ROOT / 'configs').rglob('*.py') if '_base_' not in path.parts
)
NAMES = [str(path.relative_to(ROOT / 'configs')) for path in CONFIGS]


@pytest.fixture(scope='module')
def widths():
    """Backbones are the same in most configs, and slow to build."""
    return {}


@pytest.mark.parametrize('path', CONFIGS, ids=NAMES)
def test_config_builds(path, widths):
    cfg = load_config(str(path))
    DefaultScope.get_instance(path.stem, scope_name=cfg.default_scope)
    sampler = cfg.train_dataloader.sampler
    assert cfg.train_dataloader.batch_size == (
        sampler.num_identities * sampler.num_instances
    )
    assert DATA_SAMPLERS.get(sampler.type) is not None
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        if loader is None:  # a folder without labels has no validation
            assert cfg.val_evaluator is None
            continue
        assert DATASETS.get(loader.dataset.type) is not None
        assert loader.dataset.data_root.startswith('data/')
        for transform in loader.dataset.pipeline:
            TRANSFORMS.build(transform)
    assert METRICS.build(cfg.test_evaluator).prefix == 'reid'
    hooks = [HOOKS.build(hook) for hook in cfg.default_hooks.values()]
    labellers = [hook.labeller for hook in hooks if hasattr(hook, 'labeller')]
    with_labels = sampler.get('labels') == 'pid'
    assert len(labellers) == 1 - with_labels
    assert any(isinstance(hook, MemoryHook) for hook in hooks) != with_labels

    cfg.model.backbone.pop('init_cfg', None)
    (resize,) = [t for t in cfg.test_pipeline if t['type'] == 'Resize']
    key = f'{cfg.model.backbone} {resize["scale"]}'
    if key not in widths:
        widths[key] = width_of(MODELS.build(cfg.model.backbone), *resize['scale'])
    model = cfg.model
    width = model.neck.in_channels
    assert widths[key] == width
    MODELS.build(model.neck)
    for head in model.head if isinstance(model.head, list) else [model.head]:
        assert MODELS.build(head) and head.get('in_channels', width) == width
    if with_labels:
        assert model.relation_neck is None and model.relation_head is None
        return
    (labels,) = labellers
    assert (labels.graphs is None) == (model.relation_neck is None)
    if model.relation_neck is None:
        assert model.relation_head is None and not labels.refine
    else:
        assert model.relation_neck.in_channels == width
        assert model.relation_head.in_channels == 2 * width
        relation = MODELS.build(model.relation_head)
        # with or without SCL, in both memories
        assert relation.policy == MODELS.build(model.head).policy


def width_of(backbone, width, height) -> int:
    """Channels of a backbone's output for an image."""
    backbone.eval()  # gives nothing back in mmpretrain
    with torch.no_grad():
        out = backbone(torch.zeros(1, 3, height, width))[-1]
    assert out.ndim in (2, 4)
    return out.shape[1]


def test_there_is_no_config_without_a_comment():
    for path in CONFIGS:
        assert path.read_text().startswith('# '), path
        assert ast.parse(path.read_text()).body, path


def test_models_of_table_2():
    from mmreid_gcl.experiments import named_table
    from mmreid_gcl.experiments.experiment import settings_of

    for dataset in ('synthetic', 'market', 'duke'):
        rows = named_table('table2', dataset).rows
        found = []
        for row in rows:
            cfg = load_config(str(ROOT / row.config))
            hook = cfg.default_hooks.pseudo_labels
            found.append(
                (
                    cfg.model.head.get('policy', 'selective') == 'selective',
                    hook.get('refine', True),
                    cfg.model.relation_neck is not None,
                )
            )
        # SCL, CR, NS as in the table
        assert found == [
            (False, False, False),
            (False, False, True),
            (True, False, False),
            (True, False, True),
            (False, True, True),
            (True, True, True),
        ]
        base = load_config(str(ROOT / f'configs/gcl_{dataset}.py'))
        assert settings_of(cfg) == settings_of(base)


def test_policies_of_table_3():
    from mmreid_gcl.experiments import named_table

    for dataset in ('synthetic', 'market', 'duke'):
        found = []
        for row in named_table('table3', dataset).rows:
            cfg = load_config(str(ROOT / row.config))
            assert cfg.model.relation_neck is None
            head = MODELS.build(cfg.model.head)
            found.append((head.policy, head.topk, head.loss_queries))
        assert found == [
            ('average', 2, 'all'),
            ('random', 2, 'all'),
            ('selective', 1, 'selected'),
            ('selective', 2, 'selected'),
            ('selective', 4, 'selected'),
        ]


def test_cluster_contrast_is_as_published():
    hardest = load_config(
        str(ROOT / 'configs/baselines/market_cluster_contrast_hardest.py')
    )
    head = MODELS.build(hardest.model.head)
    assert (head.policy, head.topk, head.loss_queries) == ('selective', 1, 'all')
    assert head.momentum == 0.1 and head.temperature == 0.05
    sampler = hardest.train_dataloader.sampler
    assert (sampler.num_identities, sampler.num_instances) == (16, 16)
    assert sampler.spread_cameras
