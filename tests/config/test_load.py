# SPDX-License-Identifier: Apache-2.0
from datetime import timedelta
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from mmreid_gcl.apis import load_config

CONFIGS = Path(__file__).parents[2] / 'configs'

TEXT = """
data_root = 'data/here'
train_dataloader = dict(
    batch_size={batch_size},
    pin_memory=True,
    sampler=dict({sampler}),
    dataset=dict(type='Market1501', data_root=data_root))
val_dataloader = dict(
    batch_size=64, pin_memory=True,
    dataset=dict(type='Market1501', data_root=data_root))
test_dataloader = val_dataloader
{more}
"""


@pytest.fixture
def write(tmp_path):
    def make(batch_size="'auto'", sampler="type='PKSampler'", more=''):
        path = tmp_path / 'some_config.py'
        path.write_text(TEXT.format(batch_size=batch_size, sampler=sampler, more=more))
        return str(path)

    return make


@pytest.fixture
def gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)


@pytest.fixture
def no_gpu(monkeypatch):
    """Without one; returns the calls that would connect the processes."""
    calls = []
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)

    def connect(backend, **kwargs):
        calls.append((backend, kwargs))

    monkeypatch.setattr(torch.distributed, 'init_process_group', connect)
    return calls


@pytest.mark.parametrize(
    'sampler,world_size,expected',
    [
        ("type='PKSampler'", 1, 128),
        ("type='PKSampler'", 8, 16),
        ("type='mmreid_gcl.PKSampler', num_identities=8", 2, 32),
        ("type='PKSampler', num_identities=3, num_instances=5", 5, 3),
    ],
)
def test_batch_size(write, gpu, monkeypatch, sampler, world_size, expected):
    monkeypatch.setenv('WORLD_SIZE', str(world_size))
    cfg = load_config(write(sampler=sampler), launcher='pytorch')
    assert cfg.train_dataloader.batch_size == expected
    assert cfg.launcher == 'pytorch'


@pytest.mark.parametrize(
    'launcher,variable',
    [
        ('pytorch', 'WORLD_SIZE'),
        ('slurm', 'SLURM_NTASKS'),
        ('mpi', 'OMPI_COMM_WORLD_SIZE'),
    ],
)
def test_launchers(write, gpu, monkeypatch, launcher, variable):
    for name in ('WORLD_SIZE', 'SLURM_NTASKS', 'OMPI_COMM_WORLD_SIZE'):
        monkeypatch.setenv(name, '4' if name == variable else '16')
    assert load_config(write(), launcher=launcher).train_dataloader.batch_size == 32
    assert load_config(write()).train_dataloader.batch_size == 128


def test_batch_size_of_overridden_p_and_k(write):
    options = {'train_dataloader.sampler.num_identities': 4}
    cfg = load_config(write(), options)
    assert cfg.train_dataloader.batch_size == 32


def test_a_number_stays(write):
    """Whether it fits is for the hook to say, once the processes are there."""
    assert load_config(write(batch_size=7)).train_dataloader.batch_size == 7


def test_a_batch_that_cannot_be_shared(write, gpu, monkeypatch):
    monkeypatch.setenv('WORLD_SIZE', '6')
    with pytest.raises(ValueError, match=r'16 x 8 = 128 images .* 6 processes'):
        load_config(write(), launcher='pytorch')


@pytest.mark.parametrize('name', ['num_identities', 'num_instances'])
@pytest.mark.parametrize('value', ['abc', 2.5, 0])
def test_p_and_k_are_counts(write, name, value):
    options = {f'train_dataloader.sampler.{name}': value}
    with pytest.raises(ValueError, match=rf'sampler\.{name} must be .*, got .?{value}'):
        load_config(write(), options)


def test_auto_without_p_and_k(write):
    with pytest.raises(ValueError, match=r"'auto' needs .*PKSampler.*DefaultSampler"):
        load_config(write(sampler="type='DefaultSampler'"))
    with pytest.raises(ValueError, match=r"'auto' needs .*PKSampler.*None"):
        load_config(write(sampler=''))


def test_data_root(write):
    path = write()
    cfg = load_config(path)
    loaders = ('train_dataloader', 'val_dataloader', 'test_dataloader')
    assert {cfg[name].dataset.data_root for name in loaders} == {'data/here'}
    cfg = load_config(path, {'data_root': '/elsewhere'})
    assert {cfg[name].dataset.data_root for name in loaders} == {'/elsewhere'}
    assert cfg.data_root == '/elsewhere'


def test_data_root_without_evaluation(write):
    path = write(more='val_dataloader = None\ntest_dataloader = None')
    cfg = load_config(path, {'data_root': '/elsewhere'})
    assert cfg.train_dataloader.dataset.data_root == '/elsewhere'
    assert cfg.val_dataloader is None


def test_options(write):
    cfg = load_config(write(), {'val_dataloader.batch_size': 3, 'model.head.topk': 4})
    assert cfg.val_dataloader.batch_size == 3 and cfg.model.head.topk == 4


def test_work_dir(write):
    assert load_config(write()).work_dir == str(Path('work_dirs') / 'some_config')
    path = write(more="work_dir = 'own'")
    assert load_config(path).work_dir == 'own'
    assert load_config(path, work_dir='given').work_dir == 'given'


def test_no_such_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'nothing\.py: there is no such'):
        load_config(str(tmp_path / 'nothing.py'))


def test_with_a_gpu_nothing_else_changes(write, gpu, monkeypatch):
    monkeypatch.setenv('WORLD_SIZE', '2')
    cfg = load_config(write(), launcher='pytorch')
    assert cfg.train_dataloader.pin_memory and 'model_wrapper_cfg' not in cfg


def test_without_a_gpu(write, no_gpu, monkeypatch):
    cfg = load_config(write())
    assert not cfg.train_dataloader.pin_memory and not cfg.val_dataloader.pin_memory
    assert not no_gpu and 'model_wrapper_cfg' not in cfg
    monkeypatch.setenv('WORLD_SIZE', '2')
    more = "env_cfg = dict(dist_cfg=dict(backend='nccl', timeout=7200))"
    cfg = load_config(write(more=more), launcher='pytorch')
    assert no_gpu == [('gloo', dict(timeout=timedelta(hours=2)))]
    assert cfg.env_cfg.dist_cfg.timeout == 7200
    assert cfg.env_cfg.dist_cfg.backend == 'gloo'
    assert cfg.model_wrapper_cfg.device_ids is None
    assert not cfg.model_wrapper_cfg.find_unused_parameters
    more += "\nmodel_wrapper_cfg = dict(type='Mine', device_ids=[0])"
    more += '\nfind_unused_parameters = True'
    wrapper = load_config(write(more=more), launcher='pytorch').model_wrapper_cfg
    assert (wrapper.type, wrapper.device_ids) == ('Mine', None)
    assert wrapper.find_unused_parameters


@pytest.mark.parametrize('path', sorted(CONFIGS.glob('*.py')), ids=lambda p: p.name)
def test_the_configs_here(path, no_gpu):
    cfg = load_config(str(path), {'data_root': '/data'})
    sampler = cfg.train_dataloader.sampler
    product = sampler.num_identities * sampler.num_instances
    assert cfg.train_dataloader.batch_size == product
    assert cfg.train_dataloader.dataset.data_root == '/data'
    assert isinstance(cfg, Config) and cfg.default_scope == 'mmreid_gcl'


def test_an_option_takes_a_hook_away():
    cfg = load_config('gcl_market', {'default_hooks.memory': None})
    assert 'memory' not in cfg.default_hooks and 'pseudo_labels' in cfg.default_hooks


@pytest.mark.parametrize(
    ('option', 'value', 'message'),
    [
        ('train_dataloader.batch_size', 0, 'train_dataloader: batch_size .* least 1'),
        ('val_dataloader.batch_size', -3, 'val_dataloader: batch_size .* least 1'),
        ('test_dataloader.batch_size', 2.5, 'test_dataloader: batch_size .* whole'),
        ('train_dataloader.num_workers', -1, 'train_dataloader: num_workers .* 0'),
        ('model.samples_per_bn', 48, '48, but a process has 128 images'),
        ('default_hooks.pseudo_labels.extract.batch_size', 0, 'extract of .* least 1'),
    ],
)
def test_what_would_fail_only_in_training(write, option, value, message):
    hook = "dict(type='PseudoLabelHook', extract=dict(batch_size=8))"
    more = (
        f'default_hooks = dict(pseudo_labels={hook})\n'
        'train_dataloader["num_workers"] = 0\nval_dataloader["num_workers"] = 0\n'
        'model = dict(samples_per_bn=32)'
    )
    load_config(write(more=more))
    with pytest.raises(ValueError, match=message):
        load_config(write(more=more), {option: value})


@pytest.mark.parametrize('batch_size', ["'auto'", 1])
def test_a_batch_of_one_image(write, batch_size):
    sampler = "type='PKSampler', num_identities=1, num_instances={}"
    with pytest.raises(ValueError, match='a batch of one image'):
        load_config(write(batch_size, sampler.format(1)))
    assert (
        load_config(write(sampler=sampler.format(2))).train_dataloader.batch_size == 2
    )
