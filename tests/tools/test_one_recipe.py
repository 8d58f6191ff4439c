# SPDX-License-Identifier: Apache-2.0
"""Training, tools and figures make the same labels of the same weights and epoch."""

import csv
import json
from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config

from mmreid_gcl.apis import load_config
from mmreid_gcl.apis.figures import ModelSource, clusters
from mmreid_gcl.config.packaged import configs
from mmreid_gcl.config_parts import find_pseudo_label_hook
from mmreid_gcl.engine import PseudoLabelHook
from tests.apis.tiny import make_model, tiny_cfg, write_crops


def small(settings):
    """Neighbours that a hundred images have."""
    settings = dict(settings)
    for name in settings:
        if name in ('k1', 'k2', 'min_samples'):
            settings[name] = dict(k1=8, k2=3, min_samples=2)[name]
        elif isinstance(settings[name], dict):
            settings[name] = small(settings[name])
    return settings


def recipes():
    """The distinct settings of the hook in the packaged configs."""
    found = {}
    for name in configs():
        cfg = load_config(name)
        hook = {k: v for k, v in find_pseudo_label_hook(cfg).items() if k != 'extract'}
        if hook:
            relation = cfg.model.get('relation_neck') is not None
            key = json.dumps([hook, relation], sort_keys=True)
            found.setdefault(key, (name, small(hook), relation))
    return list(found.values())


RECIPES = recipes()
#: For clusterers of tracks: a number is a track in each camera.
PATTERN = r'(?P<track>\d+)_(?P<frame>\d+)'


@pytest.fixture(scope='module')
def crops(tmp_path_factory):
    folder = tmp_path_factory.mktemp('crops')
    return write_crops(folder, people=8, shots=4, cameras=('a', 'b', 'c'))


def test_recipes_are_various():
    assert len(RECIPES) > 12
    hooks = [hook for _, hook, _ in RECIPES]
    assert {hook.get('camera_norm') for hook in hooks} == {None, 'standardize'}
    assert {hook.get('refine_begin', 0) for hook in hooks} == {0, 2}


CASES = [
    pytest.param(settings, relation, epoch, id=f'{name} {epoch}')
    for name, settings, relation in RECIPES
    for epoch in ((0, 3) if settings.get('refine_begin') else (3,))
]


@pytest.mark.parametrize(('settings', 'relation', 'epoch'), CASES)
def test_labels_are_equal(
    load_tool, crops, tmp_path, monkeypatch, settings, relation, epoch
):
    cfg = tiny_cfg(relation=relation)
    dataset = dict(type='PersonFolder', data_root=str(crops), pattern=PATTERN)
    cfg = Config(
        dict(
            **cfg.to_dict(),
            train_dataloader=dict(dataset=dataset),
            test_dataloader=dict(dataset=dict(dataset, pipeline=cfg.test_pipeline)),
            default_hooks=dict(pseudo_labels=settings),
        )
    )
    model = make_model(cfg=cfg)
    if relation:  # an attention that is not uniform
        for projection in (model.relation_neck.theta, model.relation_neck.phi):
            torch.nn.init.eye_(projection.linear.weight)
    checkpoint = tmp_path / 'model.pth'
    meta = dict(cfg=cfg.pretty_text, epoch=epoch)
    torch.save(dict(meta=meta, state_dict=model.state_dict()), checkpoint)

    source = ModelSource(cfg, checkpoint, 'cpu', num_workers=0)
    paths = source.train_set.column('img_path').tolist()
    monkeypatch.setattr(
        clusters, 'cluster_sheet', lambda images, labels, *_, **__: labels
    )
    labels = clusters.cluster_figure(source, recluster=True)
    by_figure = dict(zip(paths, labels.tolist()))

    hook = PseudoLabelHook(
        **{k: v for k, v in settings.items() if k != 'type'},
        extract=dict(pipeline=cfg.test_pipeline, num_workers=0),
    )
    hook.make_labels(stub_of_a_runner(model, source.train_set, epoch))
    by_hook = dict(zip(paths, hook.labels.tolist()))

    out = tmp_path / 'out'
    options = [str(crops), f'--out={out}', '--device=cpu', '--sheets=0']
    # one batch, as above: the last bit of an embedding depends on its batch
    options += [f'--pattern={PATTERN}', '--batch-size=128']
    assert load_tool('cluster').main([str(checkpoint), *options]) == 0
    with open(out / 'clusters.csv', newline='') as file:
        rows = list(csv.DictReader(file))
    by_tool = {str(crops / row['path']): int(row['label']) for row in rows}

    assert by_hook == by_figure == by_tool
    assert max(by_hook.values()) >= 1


def stub_of_a_runner(model, dataset, epoch):
    ignore = SimpleNamespace(info=print, warning=print, add_scalars=lambda *_, **__: 0)
    loop = SimpleNamespace(dataloader=SimpleNamespace(dataset=dataset))
    return SimpleNamespace(
        model=model, train_loop=loop, epoch=epoch, logger=ignore, visualizer=ignore
    )


def test_the_epoch_matters():
    """Else the test above could not see a tool that ignores it."""
    from mmreid_gcl.clustering import labeller_of

    late = next(hook for _, hook, _ in RECIPES if hook.get('refine_begin') == 2)
    labeller = labeller_of(late)
    assert not labeller.refines(0) and labeller.refines(3) and labeller.refines(None)
