# SPDX-License-Identifier: Apache-2.0
"""Config loading: a file and ``--cfg-options`` to a config for a Runner."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

import torch
from mmengine.config import Config, ConfigDict

from mmreid_gcl.config_parts import (
    find_pseudo_label_hook,
    find_test_pipeline,
    name_hooks,
)
from mmreid_gcl.datasets.samplers.pk_draw import (
    fill_batch_size,
    require_batch,
    require_count,
)
from mmreid_gcl.environment import import_mmpretrain

from .option_names import check_options
from .packaged import find_config

_LOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')


def read_config(path: str | Path) -> Config:
    """Run a config file, a Python program, and keep what it sets.

    A missing file is a ``FileNotFoundError``; one that is no Python or cannot be run a
    ``ValueError``. mmengine also reads YAML and JSON and runs code that they name,
    which one does not expect of them, so they are refused.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f'{path}: there is no such config file.')
    if path.suffix != '.py':
        raise ValueError(
            f'{path}: expected a config in Python (.py). Configs in YAML or JSON can '
            'run code as well, through custom_imports and tags, and are not read.'
        )
    try:
        return Config.fromfile(path)
    except OSError:
        raise
    except Exception as error:  # a config is a program: it raises all kinds
        hint = ''
        if 'custom_hooks' in str(error):
            hint = (
                ' The packaged configs have their hooks in default_hooks by name: '
                'default_hooks = dict(pseudo_labels=dict(refine=False)).'
            )
        raise ValueError(
            f'{path}: this config cannot be read '
            f'({type(error).__name__}: {error}).{hint}'
        ) from error


def load_config(
    path: str,
    options: Mapping | None = None,
    work_dir: str | None = None,
    launcher: str = 'none',
) -> Config:
    """Read a config file, with overrides, ready for ``Runner.from_cfg``.

    Args:
        path (str): The config file, or the name of a packaged one: 'gcl_duke'.
        options (Mapping, optional): ``--cfg-options``. ``data_root`` on its own
            sets the folder of all data sets of the config.
        work_dir (str, optional): Goes before the config's; without either it
            is ``work_dirs/<name of the file>``.
        launcher (str): 'none', 'pytorch', 'slurm' or 'mpi'.

    Returns:
        Config: With ``batch_size='auto'`` filled in, with ``image_cache`` put into
        the pipelines, and on a machine without a GPU with gloo as backend.

    Raises:
        FileNotFoundError: If there is no such file and no such name.
        ValueError: If P * K cannot be shared among the processes, an option names
            a setting that there is not, or a batch would hold no image.
    """
    path = str(find_config(path))
    import_mmpretrain('datasets', 'models')
    cfg = read_config(path)
    name_hooks(cfg)
    if options:
        check_options(cfg, options)
        if 'data_root' in options:  # before what an option says of one data set
            set_data_root(cfg, options['data_root'])
        cfg.merge_from_dict(dict(options))
        name_hooks(cfg)  # an option may have set one to None
    cfg.launcher = launcher
    if work_dir is not None:
        cfg.work_dir = work_dir
    elif cfg.get('work_dir') is None:
        cfg.work_dir = str(Path('work_dirs') / Path(path).stem)
    world_size = _world_size(launcher)
    fill_batch_size(cfg.get('train_dataloader'), world_size)
    check_loading(cfg)
    if cfg.get('image_cache'):
        cache_images(cfg)
    for name in _LOADERS:  # torch refuses workers that stay where there are none
        if cfg.get(name) is not None and cfg[name].get('num_workers') == 0:
            cfg[name].persistent_workers = False
    if not torch.cuda.is_available():
        _for_cpu(cfg, launcher)
    return cfg


def set_data_root(cfg: Config, data_root: str) -> None:
    """Point every data set of a config to one folder."""
    for name in _LOADERS:
        if cfg.get(name) is not None:
            cfg[name].dataset.data_root = data_root


def check_loading(cfg: Config) -> None:
    """Refuse batch sizes and numbers of workers that fail only once data are loaded.

    A ``ValueError`` names the setting.
    """
    loaders = {name: cfg.get(name) for name in _LOADERS}
    hook = find_pseudo_label_hook(cfg) or {}
    loaders['extract of the PseudoLabelHook'] = hook.get('extract')
    for name, loader in loaders.items():
        loader = loader or {}
        if 'batch_size' in loader:
            require_count(f'{name}: batch_size', loader['batch_size'])
        if 'num_workers' in loader:
            require_count(f'{name}: num_workers', loader['num_workers'], least=0)
    model, loader = cfg.get('model') or {}, cfg.get('train_dataloader') or {}
    sampler = loader.get('sampler') or {}
    if str(sampler.get('type')).rpartition('.')[2] == 'PKSampler':
        counts = sampler.get('num_identities', 16), sampler.get('num_instances', 8)
        require_batch('train_dataloader.sampler.', *counts)
    samples, images = model.get('samples_per_bn'), loader.get('batch_size')
    if samples is not None:
        require_count('model.samples_per_bn', samples)
        if images and images % samples:
            raise ValueError(
                f'model.samples_per_bn is {samples}, but a process has {images} images '
                'of a batch (train_dataloader.batch_size), which is no multiple of it.'
            )


#: What each launcher calls the number of processes, a process's number among all
#: and among those of its machine.
_PLACE = {
    'pytorch': ('WORLD_SIZE', 'RANK', 'LOCAL_RANK'),
    'slurm': ('SLURM_NTASKS', 'SLURM_PROCID', 'SLURM_LOCALID'),
    'mpi': (
        'OMPI_COMM_WORLD_SIZE',
        'OMPI_COMM_WORLD_RANK',
        'OMPI_COMM_WORLD_LOCAL_RANK',
    ),
}


def cache_images(cfg: Config) -> None:
    """Keep decoded training images in shared memory, as ``cfg.image_cache`` says.

    Training, and embedding before every epoch, take their images from one
    :class:`~mmreid_gcl.datasets.image_cache.CachedTransforms`. ``cfg``, with
    ``image_cache=dict(limit_gb=..., folder=...)``, both optional, is changed in place.
    Another key, or a training pipeline that does not begin with ``LoadImageFromFile``,
    is a ``ValueError``.
    """
    from mmreid_gcl.datasets.image_cache import cache_pipeline

    settings = dict(cfg.image_cache)
    unknown = set(settings) - {'limit_gb', 'folder'}
    if unknown:
        raise ValueError(
            f'image_cache has {sorted(unknown)[0]!r}; expected limit_gb and folder.'
        )
    dataset = cfg.train_dataloader.dataset
    cached = cache_pipeline(dataset.pipeline, **settings)
    if cached == list(dataset.pipeline):
        raise ValueError(
            'image_cache: train_dataloader.dataset.pipeline does not begin with a '
            "dict(type='LoadImageFromFile')."
        )
    dataset.pipeline = cached
    hook = find_pseudo_label_hook(cfg)
    if hook:
        extract = dict(hook.get('extract') or {})
        pipeline = extract.get('pipeline') or find_test_pipeline(cfg)
        hook['extract'] = dict(extract, pipeline=cache_pipeline(pipeline, **settings))
    # so that the transform is known wherever this config is read
    imports = dict(cfg.get('custom_imports') or dict(imports=[]))
    imports['imports'] = [*imports['imports'], 'mmreid_gcl.datasets.image_cache']
    cfg.custom_imports = imports


def _world_size(launcher: str) -> int:
    """How many processes the launcher has started, before any is connected."""
    return int(os.environ.get(_PLACE[launcher][0], 1)) if launcher in _PLACE else 1


def _for_cpu(cfg: Config, launcher: str) -> None:
    """What the stack gets wrong without a GPU."""
    for name in _LOADERS:
        if cfg.get(name) is not None:
            cfg[name].pin_memory = False
    if launcher == 'none':
        return
    cfg.setdefault('env_cfg', ConfigDict())
    dist_cfg = dict(cfg.env_cfg.get('dist_cfg') or {}, backend='gloo')
    cfg.env_cfg.dist_cfg = dist_cfg
    wrapper = dict(
        type='MMDistributedDataParallel',
        broadcast_buffers=False,
        find_unused_parameters=cfg.get('find_unused_parameters', False),
    )
    wrapper.update(cfg.get('model_wrapper_cfg') or {}, device_ids=None)
    cfg.model_wrapper_cfg = wrapper
    # mmengine's launchers ask CUDA for a device whatever the backend
    if launcher in _PLACE and not torch.distributed.is_initialized():
        _name_meeting_place(launcher)
        # ranks wait for rank 0 while it clusters
        timeout = timedelta(seconds=dist_cfg.get('timeout', 1800))
        torch.distributed.init_process_group('gloo', timeout=timeout)


def _name_meeting_place(launcher: str) -> None:
    """Tell torch in its own variables where it is and where rank 0 is."""
    if launcher == 'pytorch':
        return
    for name, given in zip(_PLACE['pytorch'], _PLACE[launcher]):
        if given not in os.environ:
            raise ValueError(
                f'--launcher {launcher} needs the variable {given}, which '
                f'{"srun" if launcher == "slurm" else "mpirun"} sets. Without it use '
                'tools/dist_train.sh.'
            )
        os.environ[name] = os.environ[given]
    os.environ.setdefault('MASTER_PORT', '29500')
    if 'MASTER_ADDR' in os.environ:
        return
    if launcher == 'mpi':
        raise ValueError(
            '--launcher mpi needs the variable MASTER_ADDR, the address of the machine '
            'of rank 0.'
        )
    nodes = ['scontrol', 'show', 'hostnames', os.environ['SLURM_NODELIST']]
    hosts = subprocess.run(nodes, capture_output=True, text=True, check=True)
    os.environ['MASTER_ADDR'] = hosts.stdout.split()[0]
