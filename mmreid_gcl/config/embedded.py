# SPDX-License-Identifier: Apache-2.0
"""Reading the config inside a checkpoint without executing it."""

from __future__ import annotations

import ast
from collections.abc import Collection
from pathlib import Path
from typing import Any

from mmengine.config import Config

from mmreid_gcl.checkpoint import read_checkpoint
from mmreid_gcl.config_parts import (
    clusters_mirrored,
    find_pseudo_label_hook,
    find_test_pipeline,
)

from .allowed_parts import allowed_part

#: Settings in which the model and the test transforms are found.
_WANTED = {
    *('model', 'test_dataloader', 'val_dataloader', 'default_hooks', 'custom_hooks'),
    'test_pipeline',
}


def config_of_checkpoint(path: str | Path) -> Config:
    """The model and the test transforms that a checkpoint says it has.

    mmengine keeps the config as Python text in every checkpoint. Here it is parsed, not
    run: nothing but literals and ``dict(...)`` is understood, and only parts on the
    list of :mod:`~mmreid_gcl.config.allowed_parts` are built, with plain arguments. A
    file from elsewhere cannot make this program call anything else.

    The result is that of :func:`usable_config`. A missing file is a
    ``FileNotFoundError``; no config, or one that cannot be read so, a ``ValueError``.
    """
    meta = read_checkpoint(path, mmap=True).get('meta')
    text = meta.get('cfg') if isinstance(meta, dict) else None
    if not isinstance(text, str) or not text.strip():
        raise ValueError(
            f'{path}: this checkpoint has no config. Give the config file as the model '
            'and this file as the weights.'
        )
    try:
        return usable_config(Config(literal_config(text, _WANTED)))
    except (SyntaxError, TypeError, ValueError, KeyError, RecursionError) as error:
        raise ValueError(
            f'{path}: the config in this checkpoint cannot be used ({error}). Give the '
            'config file as the model and this file as the weights.'
        ) from error


def usable_config(settings: Config) -> Config:
    """What it takes to use a model, of a whole config.

    It has ``model`` and ``test_pipeline``, and how training clustered as
    ``default_hooks.pseudo_labels``. A ``ValueError`` if model or transforms are
    missing, or something is not what a file may build
    (:mod:`~mmreid_gcl.config.allowed_parts`).
    """
    if not settings.get('model'):
        raise ValueError('it has no model')
    try:
        steps = find_test_pipeline(settings)
        hook = find_pseudo_label_hook(settings)
    except (AttributeError, TypeError) as error:
        raise ValueError(f'a part of it is no dict ({error})') from error
    kept = dict(
        model=allowed_part(settings.model, 'model'),
        test_pipeline=[allowed_part(step, 'test_pipeline') for step in steps],
    )
    if hook:
        mirrored = clusters_mirrored(settings)
        hook = {k: v for k, v in hook.items() if k not in ('extract', 'priority')}
        hook = allowed_part(hook, 'PseudoLabelHook')
        if mirrored:
            hook['extract'] = dict(flip=True)
        kept['default_hooks'] = dict(pseudo_labels=hook)
    return Config(kept)


def literal_config(text: str, names: Collection[str] | None = None) -> dict[str, Any]:
    """Read the settings of a config that consists of literals.

    ``text`` has lines ``name = value`` of literals and ``dict(...)``, as
    ``Config.pretty_text`` writes them; those of ``names``, by default all, are read. A
    ``SyntaxError`` if it is no Python, a ``ValueError`` if it is more than literals.
    """
    settings = {}
    for line in ast.parse(text).body:
        if (
            not isinstance(line, ast.Assign)
            or len(line.targets) != 1
            or not isinstance(line.targets[0], ast.Name)
        ):
            raise ValueError(f'line {line.lineno} is not of the form name = value')
        name = line.targets[0].id
        if names is None or name in names:
            settings[name] = _value(line.value)
    return settings


def _value(node: ast.expr) -> Any:
    if isinstance(node, ast.Call) and _is_dict_call(node):
        settings = _value(node.args[0]) if node.args else {}
        return {**settings, **{word.arg: _value(word.value) for word in node.keywords}}
    if isinstance(node, ast.Dict) and None not in node.keys:
        pairs = zip(node.keys, node.values)
        return {_value(k): _value(v) for k, v in pairs if k is not None}
    if isinstance(node, (ast.List, ast.Tuple)):
        values = [_value(item) for item in node.elts]
        return values if isinstance(node, ast.List) else tuple(values)
    try:
        return ast.literal_eval(node)
    except ValueError:
        raise ValueError(f'line {node.lineno} is no literal') from None


def _is_dict_call(node: ast.Call) -> bool:
    """``dict(a=1)`` or, where keys are no names, ``dict({'a b': 1})``."""
    return (
        isinstance(node.func, ast.Name)
        and node.func.id == 'dict'
        and len(node.args) <= 1
        and all(isinstance(item, ast.Dict) for item in node.args)
        and all(word.arg for word in node.keywords)
    )
