# SPDX-License-Identifier: Apache-2.0
"""Finding parts in a config: PseudoLabelHook, test transforms."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from mmengine.config import Config, ConfigDict
from mmengine.logging import print_log

#: Hooks that a ``Runner`` has by itself, where None takes one away.
_OF_MMENGINE = {
    *('runtime_info', 'timer', 'sampler_seed', 'logger', 'param_scheduler'),
    'checkpoint',
}
#: Hooks of this package by their names in ``default_hooks``.
HOOK_NAMES = {
    'PseudoLabelHook': 'pseudo_labels',
    'MemoryHook': 'memory',
    'PositionSeedHook': 'position_seed',
    'LabelFreeBestHook': 'label_free_best',
}


def type_name(part: Any) -> str:
    """The type of a part without its scope; '' if it has none."""
    kind = part.get('type') if isinstance(part, Mapping) else None
    name = getattr(kind, '__name__', kind)
    return name.rpartition('.')[2] if isinstance(name, str) else ''


def find_pseudo_label_hook(cfg: Mapping | Config | None) -> dict[str, Any]:
    """Settings of the pseudo-label hook of a config: clusterer, graphs, ….

    They are those of the config itself, which may be changed: ``pseudo_labels`` of
    ``default_hooks``, or an entry of ``custom_hooks``; empty if there is none.
    """
    named = (cfg or {}).get('default_hooks') or {}
    listed = (cfg or {}).get('custom_hooks') or []
    for hook in [*listed, *named.values()]:
        if type_name(hook) == 'PseudoLabelHook':
            return hook
    return {}


def clusters_mirrored(cfg: Mapping | Config | None) -> bool:
    """Whether training clusters means of an image and its mirror image."""
    return bool((find_pseudo_label_hook(cfg).get('extract') or {}).get('flip'))


def name_hooks(cfg: Config) -> None:
    """Move this package's hooks from ``custom_hooks`` to ``default_hooks`` by name.

    Configs of before hooks had names go on working. A hook in ``custom_hooks`` replaces
    the one of that name, as its writer meant. A hook that is None or empty is left out.
    """
    named = cfg.get('default_hooks') or {}
    for name in named.keys() - _OF_MMENGINE:
        if not type_name(named[name]):  # mmengine takes None for its own hooks alone
            del named[name]
    listed = cfg.get('custom_hooks') or []
    moved = {HOOK_NAMES[type_name(h)]: h for h in listed if type_name(h) in HOOK_NAMES}
    if not moved:
        return
    cfg.setdefault('default_hooks', ConfigDict())
    for name, hook in moved.items():  # not update(), which would merge them
        cfg.default_hooks[name] = hook
    cfg.custom_hooks = [h for h in listed if type_name(h) not in HOOK_NAMES]
    if 'pseudo_labels' in moved:
        cfg.default_hooks.setdefault('memory', ConfigDict(type='MemoryHook'))
    written = ', '.join(f'{name}=dict(...)' for name in moved)
    print_log(
        'The config has hooks of mmreid_gcl in custom_hooks, where they have no name. '
        f'Write default_hooks = dict({written}) instead; --cfg-options then takes, for '
        'example, default_hooks.pseudo_labels.clusterer.eps=0.5.',
        logger='current',
        level=logging.WARNING,
    )


def find_test_pipeline(cfg: Mapping | Config) -> list[dict]:
    """The test transforms of a config, the one that loads included.

    Those of the test data set, else of the validation data set, of the pseudo-label
    hook, or the variable ``test_pipeline``; without any a ``ValueError``.
    """
    candidates = [
        ((cfg.get(name) or {}).get('dataset') or {}).get('pipeline')
        for name in ('test_dataloader', 'val_dataloader')
    ]
    extract = find_pseudo_label_hook(cfg).get('extract') or {}
    for pipeline in [*candidates, extract.get('pipeline'), cfg.get('test_pipeline')]:
        if pipeline:
            return [dict(step) for step in pipeline]
    raise ValueError(
        'The config has no test transforms. Expected them as '
        'test_dataloader.dataset.pipeline or test_pipeline; or give pipeline=.'
    )
