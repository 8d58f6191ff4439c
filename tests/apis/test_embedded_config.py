# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from mmengine.config import Config

from mmreid_gcl.apis.embedded_config import config_of_checkpoint, literal_config

from .tiny import TEST_PIPELINE, save_checkpoint, tiny_cfg


def save(path, text):
    torch.save(dict(meta=dict(cfg=text), state_dict={}), path)
    return path


def test_as_mmengine_writes_it(tmp_path):
    cfg = tiny_cfg(relation=True)
    hook = dict(type='PseudoLabelHook', clusterer=dict(type='X'))
    cfg.custom_hooks = [dict(type='Y'), hook]
    cfg.optim_wrapper = dict(optimizer=dict(lr=-3.5e-4, betas=(0.9, 0.99)))
    cfg.texts = ['ünï\n"\'', b'x', None, True, {}, (), {'a b': 1, 2: [3]}]
    found = literal_config(cfg.pretty_text)
    assert found == cfg.to_dict()
    found = config_of_checkpoint(save_checkpoint(tmp_path / 'a.pth', cfg=cfg))
    assert found.model == cfg.model
    assert found.test_pipeline == Config(dict(a=TEST_PIPELINE)).a
    assert found.custom_hooks == [hook]


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
