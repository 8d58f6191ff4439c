# SPDX-License-Identifier: Apache-2.0
"""Check for misspelt keys in ``--cfg-options``, which mmengine accepts."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Iterable, Mapping
from typing import Any

from mmengine.config import Config
from mmengine.registry import Registry
from mmengine.runner import Runner
from torch.utils.data import DataLoader

from mmreid_gcl import registry
from mmreid_gcl.config_parts import HOOK_NAMES

#: Settings that the tools read, beside those of the Runner.
OF_THE_TOOLS = {'data_root', 'image_cache', 'runner_type', 'auto_scale_lr', 'compile'}

#: Keys that mmengine takes out before it builds a part.
_OF_BUILDERS = {'type', 'priority', 'constructor', 'paramwise_cfg', 'optimizer'}
_OF_LOADERS = {'num_batch_per_epoch'}
_REGISTRIES = [r for r in vars(registry).values() if isinstance(r, Registry)]


def check_options(cfg: Config, options: Iterable[str]) -> None:
    """Raise a ``ValueError`` if an option names a setting that there is not.

    ``train_datloader.batch_size=64`` would add a variable that nobody reads, and
    ``train_dataloader.sampler.num_batchs=9`` end in a traceback when the sampler is
    built, after the runner has started. ``options`` are keys with dots, ``cfg`` is
    without them yet; the message has the name that was probably meant.
    """
    runner = set(inspect.signature(Runner.__init__).parameters) - {'self', 'cfg'}
    whole = cfg.to_dict()  # a Config itself is no mapping
    top = whole.keys() | runner | OF_THE_TOOLS
    for option in options:
        part: Any = whole
        path = ''
        if option.startswith('custom_hooks.') and not _exists(whole, option):
            raise ValueError(
                f'--cfg-options {option}: there is no such hook in custom_hooks. Hooks '
                'have names: default_hooks.pseudo_labels.clusterer.eps=0.5.'
            )
        first, name, more = [*option.split('.'), '', ''][:3]
        ours = first == 'default_hooks' and more and name in HOOK_NAMES.values()
        if ours and not (whole.get(first) or {}).get(name):  # nobody would read it
            raise ValueError(f'--cfg-options {option}: there is no hook {name!r}.')
        for key in option.split('.'):
            known = known_keys(part, path) if path else top
            if known is not None:
                _check(option, path, known, key)
            part = _inside(part, key)
            if part is None:  # new here; what is further inside is new, too
                break
            path = f'{path}.{key}' if path else key


def known_keys(part: Any, path: str) -> set[str] | None:
    """The keys that a part of a config at ``path`` can have; None: any.

    Those it has, and the arguments of what is built from it.
    """
    if not isinstance(part, Mapping):
        return None
    if 'type' in part:
        kinds = _classes(part['type'])
        arguments = [arguments_of(kind) for kind in kinds]
        if not kinds or any(names is None for names in arguments):
            return None
        taken = set().union(*(names for names in arguments if names is not None))
        return set(part) | taken | _OF_BUILDERS
    if path in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        return set(part) | (arguments_of(DataLoader) or set()) | _OF_LOADERS
    return None


def arguments_of(kind: type) -> set[str] | None:
    """Names of the arguments of a class, with those that it hands to its bases.

    None if it takes any name, or nobody can tell.
    """
    names: set[str] = set()
    for base in kind.__mro__:
        if '__init__' not in vars(base):
            continue
        try:
            parameters = inspect.signature(vars(base)['__init__']).parameters.values()
        except (TypeError, ValueError):  # written in C
            return None
        if base is object:  # with names left over, which somebody may have used
            return None if names else set()
        names |= {p.name for p in parameters if p.kind is not p.VAR_KEYWORD}
        if not any(p.kind is p.VAR_KEYWORD for p in parameters):
            return names - {'self', 'args'}
    return None


def _classes(name: Any) -> list[type]:
    if inspect.isclass(name):
        return [name]
    found = (kinds.get(name) for kinds in _REGISTRIES) if isinstance(name, str) else ()
    return [kind for kind in found if inspect.isclass(kind)]


def _inside(part: Any, key: str) -> Any:
    if isinstance(part, Mapping):
        return part.get(key)
    if isinstance(part, (list, tuple)) and key.isdecimal() and int(key) < len(part):
        return part[int(key)]
    return None


def _exists(whole: Mapping, option: str) -> bool:
    hooks = whole.get('custom_hooks') or []
    return _inside(hooks, option.split('.')[1]) is not None


def _check(option: str, path: str, known: set[str], key: str) -> None:
    if key in known or key.startswith('_'):
        return
    near = difflib.get_close_matches(key, known, 1)
    hint = f' Did you mean {near[0]}?' if near else ''
    where = path or 'the config'
    raise ValueError(
        f'--cfg-options {option}: {where} has no setting {key!r}.{hint} '
        'tools/print_config.py shows all of the config.'
    )
