# SPDX-License-Identifier: Apache-2.0
"""One experiment: a config with overrides, and the settings that define it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmengine.config import Config

from mmreid_gcl.config_parts import find_pseudo_label_hook, type_name

#: What of a config decides the result; the rest is where and how fast it runs.
_SETTINGS = (
    'model', 'train_dataloader', 'val_dataloader', 'val_evaluator', 'optim_wrapper',
    'param_scheduler', 'train_cfg', 'auto_scale_lr', 'custom_hooks', 'load_from',
)  # fmt: skip
#: What decides that of a row without training.
_OF_MEASURE = dict(
    untrained=('model', 'test_dataloader', 'test_evaluator'),
    histogram=('test_dataloader',),
)
_INCIDENTAL = (
    'channels_last', 'compare_unrefined', 'compile', 'data_root', 'meta_keys',
    'num_workers', 'persistent_workers', 'pin_memory', 'prefetch_factor',
    'val_interval',
)  # fmt: skip


@dataclass(frozen=True)
class Experiment:
    """A row of a table."""

    label: str  #: What the table calls it
    config: str  #: Path of the config, from the root of the repository or absolute
    #: Overrides. A key that begins with 'hook.' stands for
    #: ``default_hooks.pseudo_labels.``
    options: Mapping[str, Any] = field(default_factory=dict)
    #: The paper's ``mAP``, ``R1``, ... in percent
    paper: Mapping[str, float] = field(default_factory=dict)
    value: float | None = None  #: Of the hyper-parameter that a sweep varies
    #: 'training'; or what needs none: 'untrained', the backbone's own weights, or
    #: 'histogram', colour histograms of the test images
    measure: str = 'training'


@dataclass(frozen=True)
class Resolved:
    """An experiment whose config has been read."""

    #: For the folder: the config's path below ``configs/``, with the overrides
    name: str
    config: Path  #: The config file
    options: dict[str, Any]  #: For ``--cfg-options``
    #: Ten hexadecimal digits of the settings that decide the result: equal ones need
    #: one run
    fingerprint: str
    epochs: int  #: Epochs of training
    graphs: str  #: How the graphs are built, in words
    data_root: str  #: The config's own folder of data
    measure: str = 'training'  #: As of :class:`Experiment`

    @property
    def folder(self) -> str:
        """Folder of its runs; another config has another one."""
        return f'{self.name}-{self.fingerprint}'


def resolve(
    experiment: Experiment, root: Path, options: Mapping[str, Any] | None = None
) -> Resolved:
    """Read an experiment's config; relative paths are from ``root``, the repository.

    ``options`` are more overrides, such as ``{'train_cfg.max_epochs': 5}``; they go
    after the experiment's. No such config is a FileNotFoundError, a 'hook.' option for
    one without a PseudoLabelHook a ValueError.
    """
    path = root / experiment.config
    if not path.is_file():
        raise FileNotFoundError(f'{path}: there is no such config file.')
    cfg = Config.fromfile(str(path))
    merged = {
        _expand(key, cfg, path): value
        for key, value in {**experiment.options, **(options or {})}.items()
    }
    cfg.merge_from_dict(dict(merged))
    measure = experiment.measure
    trains = measure == 'training'
    if trains:
        settings = settings_of(cfg)
    else:
        settings = {key: _plain(cfg.get(key)) for key in _OF_MEASURE[measure]}
        settings['measure'] = measure
    text = json.dumps(settings, sort_keys=True)
    stem = path.with_suffix('')
    configs = root / 'configs'
    name = stem.relative_to(configs) if stem.is_relative_to(configs) else stem.name
    words = [f'{k.rpartition(".")[2]}={v}' for k, v in experiment.options.items()]
    words += [] if trains else [measure]
    suffix = ''.join(f',{word}' for word in words)
    return Resolved(
        name=f'{str(name).replace("/", ".")}{suffix}'.replace('/', '_'),
        config=path,
        options=merged,
        fingerprint=hashlib.sha256(text.encode()).hexdigest()[:10],
        epochs=int(cfg.get('train_cfg', {}).get('max_epochs', 0)) if trains else 0,
        graphs=describe_graphs(cfg) if trains else '–',
        data_root=str(cfg.get('data_root', '')),
        measure=measure,
    )


def settings_of(cfg: Mapping) -> dict:
    """What of a config decides the result, as plain JSON values.

    Without folders, numbers of workers, logging and the seed.
    """
    settings = {key: _plain(cfg[key]) for key in _SETTINGS if cfg.get(key) is not None}
    settings['pseudo_labels'] = _plain(find_pseudo_label_hook(cfg))
    hooks = [
        *(cfg.get('default_hooks') or {}).values(),
        *(cfg.get('custom_hooks') or []),
    ]
    for key, kind in (('average', 'EMAHook'), ('ramp', 'RampHook')):
        found = [hook for hook in hooks if type_name(hook) == kind]
        if found:
            settings[key] = _plain(found)
    if not settings.get('auto_scale_lr', {}).get('enable'):  # it does nothing
        settings.pop('auto_scale_lr', None)
    return settings


def describe_graphs(cfg: Mapping) -> str:
    """The graphs of a config's clustering, such as 'file name (leaks)'.

    '–' where there is no relation neck to need them.
    """
    graphs = find_pseudo_label_hook(cfg).get('graphs')
    if not graphs or not cfg['model'].get('relation_neck'):
        return '–'
    if graphs['type'].endswith('NeighbourGraphs'):
        return 'mutual neighbours' if graphs.get('mutual') else 'neighbours'
    order = graphs.get('order', graphs['type'])
    words = {'filename': 'file name (leaks)', 'camera_time': 'camera, time'}
    return words.get(order, order)


def _expand(key: str, cfg: Mapping, path: Path) -> str:
    if not key.startswith('hook.'):
        return key
    if not find_pseudo_label_hook(cfg):
        raise ValueError(f'{path}: {key} needs a PseudoLabelHook in default_hooks.')
    return f'default_hooks.pseudo_labels.{key.removeprefix("hook.")}'


def _plain(value):
    """JSON values; 5.0 is 5, a tuple is a list."""
    if isinstance(value, Mapping):
        return {
            k: _plain(v)
            for k, v in value.items()
            if k not in _INCIDENTAL and (k, v) != ('last_stride', None)
        }
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    return repr(value)
