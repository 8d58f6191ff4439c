# SPDX-License-Identifier: Apache-2.0
import copy
import itertools

import mmengine.registry
import mmpretrain.registry
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import Registry

import mmreid_gcl.registry
from mmreid_gcl.apis import ReIDInferencer, load_config, publish
from mmreid_gcl.apis.publish import publish_checkpoint
from mmreid_gcl.config.allowed_parts import PARTS, allowed_part
from mmreid_gcl.config.embedded import (
    config_of_checkpoint,
    literal_config,
    usable_config,
)
from mmreid_gcl.config.option_names import arguments_of
from mmreid_gcl.config.packaged import configs
from tests.apis.tiny import TEST_PIPELINE, save_checkpoint, tiny_cfg


def save(path, text):
    torch.save(dict(meta=dict(cfg=text), state_dict={}), path)
    return path


def test_as_mmengine_writes_it(tmp_path):
    cfg = tiny_cfg(relation=True)
    hook = dict(type='PseudoLabelHook', clusterer=dict(type='DBSCANClusterer'))
    cfg.custom_hooks = [dict(type='Y'), hook]
    cfg.optim_wrapper = dict(optimizer=dict(lr=-3.5e-4, betas=(0.9, 0.99)))
    cfg.texts = ['ünï\n"\'', b'x', None, True, {}, (), {'a b': 1, 2: [3]}]
    found = literal_config(cfg.pretty_text)
    assert found == cfg.to_dict()
    found = config_of_checkpoint(save_checkpoint(tmp_path / 'a.pth', cfg=cfg))
    assert found.model == cfg.model
    assert found.test_pipeline == Config(dict(a=TEST_PIPELINE)).a
    assert found.default_hooks == dict(pseudo_labels=hook)


@pytest.mark.parametrize(
    'line',
    [
        'import os',
        "model = __import__('os').system('touch {path}')",
        "model = dict(type=open('{path}', 'w'))",
        "model = [open('{path}', 'w') for _ in [1]]",
        "model = dict(**open('{path}', 'w'))",
        "model = dict([open('{path}', 'w')])",
        "model = f'{{open('{path}', 'w')}}'",
        'model.x = 1',
        "open('{path}', 'w')",
        'model = (',
    ],
)
def test_nothing_is_executed(tmp_path, line):
    path = tmp_path / 'ran'
    file = save(tmp_path / 'a.pth', line.format(path=path))
    with pytest.raises(ValueError, match=r'a\.pth: the config in this checkpoint'):
        config_of_checkpoint(file)
    assert not path.exists()


@pytest.mark.parametrize(
    'kind', ['os.system', 'mmengine.utils.install_package', 'mmreid_gcl.Nothing', 3]
)
@pytest.mark.parametrize('place', ['model', 'neck', 'pipeline', 'clusterer'])
def test_only_registered_types(tmp_path, kind, place):
    cfg = tiny_cfg().to_dict()
    clusterer = dict(type='DBSCANClusterer')
    cfg['custom_hooks'] = [dict(type='PseudoLabelHook', clusterer=clusterer)]
    target = {
        'clusterer': clusterer,
        'model': cfg['model'],
        'neck': cfg['model']['neck'],
        'pipeline': cfg['test_pipeline'][1],
    }[place]
    target['type'] = kind
    with pytest.raises(ValueError, match='not registered'):
        config_of_checkpoint(save(tmp_path / 'a.pth', Config(cfg).pretty_text))


def test_scoped_types(tmp_path):
    cfg = tiny_cfg().to_dict()
    cfg['model']['type'] = 'mmreid_gcl.UnsupervisedReID'
    cfg['model']['backbone']['type'] = 'mmpretrain.ResNet'
    cfg['test_pipeline'][1]['type'] = 'mmpretrain.Resize'
    cfg['test_pipeline'][0]['type'] = 'mmcv.LoadImageFromFile'
    text = Config(cfg).pretty_text.replace('mmcv.Load', 'Load')
    config_of_checkpoint(save(tmp_path / 'a.pth', text))


@pytest.mark.parametrize('text', [None, '', 'a = 1', 'model = dict(type="X")'])
def test_without_what_is_needed(tmp_path, text):
    with pytest.raises(ValueError, match='Give the config file as the model'):
        config_of_checkpoint(save(tmp_path / 'a.pth', text))


LISTED = {name for _, parts in PARTS.values() for name in parts}
NESTED = [
    lambda part: dict(a=part),
    lambda part: [part],
    lambda part: dict(type='RandomApply', transforms=[part]),
    lambda part: dict(augments=[part]),
    lambda part: dict(cfg=part, stages=(True,)),
]


def all_types():
    """Each name in a registry of the stack, with each way to write it."""
    for module in (mmengine.registry, mmpretrain.registry, mmreid_gcl.registry):
        for registry in vars(module).values():
            if isinstance(registry, Registry):
                yield from ((registry.scope, name) for name in registry.module_dict)


def whole_file(place, value):
    """A config with ``value`` at a place that would build it."""
    cfg = tiny_cfg(relation=True).to_dict()
    hook = dict(type='PseudoLabelHook', clusterer=dict(type='DBSCANClusterer'))
    hook['graphs'] = dict(type='NeighbourGraphs')
    cfg['custom_hooks'] = [hook]
    *path, last = place
    target = cfg
    for key in path:
        target = target[key]
    target[last] = value
    return Config(cfg)


PLACES = [
    ('model',),
    ('model', 'backbone'),
    ('model', 'neck'),
    ('model', 'head'),
    ('model', 'data_preprocessor'),
    ('model', 'relation_neck'),
    ('model', 'relation_head'),
    ('model', 'backbone', 'norm_cfg'),
    ('model', 'backbone', 'conv_cfg'),
    ('model', 'backbone', 'style'),
    ('model', 'neck', 'norm_cfg'),
    ('model', 'neck', 'pooling'),
    ('model', 'relation_neck', 'norm_cfg'),
    ('model', 'compile'),
    ('model', 'data_preprocessor', 'batch_augments'),
    ('test_pipeline', 1),
    ('test_pipeline', 1, 'scale'),
    ('test_pipeline', 0, 'backend_args'),
    ('custom_hooks', 0, 'clusterer'),
    ('custom_hooks', 0, 'clusterer', 'knn'),
    ('custom_hooks', 0, 'graphs'),
    ('custom_hooks', 0, 'camera_norm'),
]


def test_no_type_outside_the_list_can_be_built_from_a_file():
    names = sorted(set(all_types()))
    assert len(names) > 500
    assert {'HuggingFaceClassifier', 'TIMMBackbone'} < {name for _, name in names}
    for scope, name in names:
        if name in LISTED:
            continue
        for prefix in ('', f'{scope}.', 'mmengine.', 'mmreid_gcl.', 'mmdet.'):
            for place in PARTS:
                with pytest.raises(ValueError, match='not registered'):
                    allowed_part(dict(type=prefix + name), place)


@pytest.mark.parametrize('place', PLACES)
def test_no_place_of_a_file_builds_what_is_not_listed(place):
    """The types that run code or read files from their arguments, in any nesting."""
    evil = [
        dict(type='torchvision/ConvertImageDtype', dtype='float32 if f() else 1'),
        dict(type='HuggingFaceClassifier', model_name='/x', trust_remote_code=True),
        dict(type='TIMMBackbone', model_name='x', checkpoint_path='/x'),
        dict(type='mmengine.Config', filename='/x'),
        dict(type='builtins.exec', object='1'),
        dict(type='Resize', _scope_='mmdet', scale=(1, 1)),
        dict(type='ResNet', depth=18, plugins=[dict(cfg=dict(type='ContextBlock'))]),
        dict(type=['ResNet']),
        dict(type=dict),
        dict(_scope_='mmdet'),
        dict(checkpoint='/x'),
        '/x',
        b'x',
    ]
    for part, nest in itertools.product(evil, [lambda part: part, *NESTED]):
        with pytest.raises(ValueError):
            usable_config(whole_file(place, nest(part)))


def test_the_listed_parts_say_what_they_take():
    """An argument that is passed on to who knows whom could be anything."""
    for place, (registry, parts) in PARTS.items():
        for name, texts in parts.items():
            known = arguments_of(registry.get(name))
            assert known is not None, (place, name)
            assert set(texts) <= known, (place, name)


@pytest.mark.parametrize('name', [n for n in configs() if 'clusterers' not in n])
def test_every_packaged_config_can_travel_in_a_file(name):
    cfg = load_config(name)
    found = usable_config(copy.deepcopy(cfg))
    assert found.model.backbone.type == cfg.model.backbone.type
    assert found.model.backbone.get('init_cfg') is None


def test_a_file_that_runs_code_is_refused_by_all_who_read_it(tmp_path):
    victim = tmp_path / 'ran'
    code = f"float32 if __import__('os').mkdir({str(victim)!r}) else torch.float32"
    cfg = tiny_cfg()
    cfg.test_pipeline.insert(2, dict(type='torchvision/ConvertImageDtype', dtype=code))
    file = save_checkpoint(tmp_path / 'a.pth', cfg=cfg, with_config=False)
    content = torch.load(file)
    content['meta']['cfg'] = cfg.pretty_text
    torch.save(content, file)
    for read in (
        config_of_checkpoint,
        ReIDInferencer,
        lambda file: publish_checkpoint(file, tmp_path / 'out.pth'),
    ):
        with pytest.raises(ValueError, match=r'ConvertImageDtype.*not registered') as e:
            read(file)
        assert 'Give the config file' in str(e.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ['a.pth']


@pytest.mark.parametrize('suffix', ['.json', '.yaml', '.yml'])
def test_configs_that_are_no_python_are_refused(tmp_path, suffix):
    path = tmp_path / f'config{suffix}'
    victim = tmp_path / 'ran'
    text = f'!!python/object/apply:os.mkdir [{victim}]'
    path.write_text('{"custom_imports": {"imports": ["x"]}}' if 'j' in suffix else text)
    for read in (load_config, ReIDInferencer):
        with pytest.raises(ValueError, match=r'expected a config in Python'):
            read(str(path))
    assert not victim.exists()


def test_published_without_a_config_that_nobody_could_use(tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr(publish, 'log', lambda text, level: said.append(text))
    cfg = tiny_cfg()
    source = save_checkpoint(tmp_path / 'a.pth', cfg=cfg)
    cfg.test_pipeline.insert(2, dict(type='Rotate', magnitude=0.0, prob=0.0))
    out = publish_checkpoint(source, tmp_path / 'b.pth', cfg)
    assert 'Rotate' in said[0] and 'Give the config file along' in said[0]
    with pytest.raises(ValueError, match='has no config'):
        config_of_checkpoint(out)
