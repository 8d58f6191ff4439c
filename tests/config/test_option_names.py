# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import pytest
from mmengine.config import Config

from mmreid_gcl.config.option_names import arguments_of, check_options, known_keys

CONFIGS = Path(__file__).parents[2] / 'configs'
FOLDER = CONFIGS / 'gcl_folder.py'


def test_typing_errors_in_options():
    cfg = Config.fromfile(FOLDER)
    good = [
        *(
            'data_root',
            'train_dataloader.batch_size',
            'default_hooks.pseudo_labels.clusterer.eps',
        ),
        *('work_dir', 'randomness.seed', 'val_evaluator', 'cfg_of_nobody'),
    ]
    check_options(cfg, good[:-1])
    with pytest.raises(ValueError, match="no setting 'cfg_of_nobody'"):
        check_options(cfg, good)
    with pytest.raises(ValueError, match=r'Did you mean train_dataloader\?'):
        check_options(cfg, ['train_datloader.batch_size'])


@pytest.mark.parametrize(
    ('option', 'meant'),
    [
        ('train_dataloader.sampler.num_batchs', 'num_batches'),
        ('train_dataloader.num_worker', 'num_workers'),
        ('train_dataloader.dataset.data_rot', 'data_root'),
        ('model.backbone.frozen_stage', 'frozen_stages'),
        ('model.head.momentun', 'momentum'),
        ('default_hooks.pseudo_labels.refine_begn', 'refine_begin'),
        ('default_hooks.pseudo_labels.clusterer.epss', 'eps'),
        ('optim_wrapper.acumulative_counts', 'accumulative_counts'),
        ('optim_wrapper.optimizer.learning_rate', ''),
        ('param_scheduler.0.step_sizes', 'step_size'),
    ],
)
def test_typing_errors_inside_a_part(option, meant):
    with pytest.raises(ValueError) as caught:
        check_options(Config.fromfile(CONFIGS / 'gcl_duke.py'), [option])
    path, _, key = option.rpartition('.')
    assert f'{path} has no setting {key!r}' in str(caught.value)
    assert not meant or f'Did you mean {meant}?' in str(caught.value)


@pytest.mark.parametrize(
    'option',
    [
        'model.backbone.frozen_stages',  # of the class, not in the config
        'model.backbone.init_cfg.checkpoint',
        'model.backbone.norm_cfg.requires_grad',  # a new dict
        'default_hooks.pseudo_labels.extract.anything',  # a dict without a type
        'default_hooks.pseudo_labels.priority',
        'default_hooks.mine.anything',  # a hook of the user's own
        'optim_wrapper.accumulative_counts',
        'optim_wrapper.paramwise_cfg.norm_decay_mult',
        'param_scheduler.0.step_size',
        'param_scheduler.0.by_epoch',  # of a base class
        'train_dataloader.prefetch_factor',
        'train_dataloader.dataset._delete_',
        'default_hooks.checkpoint.interval',
    ],
)
def test_what_can_be_set(option):
    check_options(Config.fromfile(CONFIGS / 'gcl_duke.py'), [option])


@pytest.mark.parametrize('name', ['gcl_duke', 'gcl_folder', 'ablation/market_model4'])
def test_configs_have_only_keys_that_are_known(name):
    """What the configs say themselves must not be taken for a typing error."""
    looked = []

    def look(part, path):
        if isinstance(part, dict):
            bare = {'type': part['type']} if 'type' in part else {}
            known = known_keys(bare, path)
            if known is not None:
                looked.append(path)
                assert set(part) <= known, path
        children = part.items() if isinstance(part, dict) else enumerate(part)
        for key, value in children:
            if isinstance(value, (dict, list, tuple)):
                look(value, f'{path}.{key}' if path else str(key))

    look(Config.fromfile(CONFIGS / f'{name}.py')._cfg_dict, '')
    assert len(looked) > 20


def test_arguments_of():
    class Base:
        def __init__(self, a, *, b=1):
            pass

    class Passes(Base):
        def __init__(self, *args, c=2, **kwargs):
            super().__init__(*args, **kwargs)

    class Swallows:
        def __init__(self, a, **kwargs):
            pass

    class Nothing:
        pass

    assert arguments_of(Base) == {'a', 'b'}
    assert arguments_of(Passes) == {'a', 'b', 'c'}
    assert arguments_of(Swallows) is None
    assert arguments_of(Nothing) == set()


def test_hooks_by_number_are_refused_where_there_are_none():
    cfg = Config.fromfile(FOLDER)
    with pytest.raises(ValueError, match=r'default_hooks\.pseudo_labels'):
        check_options(cfg, ['custom_hooks.1.clusterer.eps'])
    cfg.custom_hooks = [dict(type='A')]
    check_options(cfg, ['custom_hooks.0.priority'])


def test_settings_of_a_hook_that_is_not_there_are_refused():
    cfg = Config.fromfile(FOLDER.parent / 'baselines/market_supervised.py')
    with pytest.raises(ValueError, match="there is no hook 'pseudo_labels'"):
        check_options(cfg, ['default_hooks.pseudo_labels.clusterer.eps'])
    check_options(cfg, ['default_hooks.pseudo_labels', 'default_hooks.mine.a'])
