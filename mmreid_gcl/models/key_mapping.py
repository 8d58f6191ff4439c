# SPDX-License-Identifier: Apache-2.0
"""Weights of other code bases under the names of this one."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping

from torch import Tensor

#: Where cluster-contrast's ``nn.Sequential`` keeps the parts of its ResNet.
_SEQUENTIAL_RESNET = ('conv1', 'bn1', None, 'layer1', 'layer2', 'layer3', 'layer4')
#: Blocks in each stage of MobileNetV2.
_MOBILENET_STAGES = (1, 2, 3, 4, 3, 3, 1)


def _torchreid(key: str) -> str | None:
    if key.startswith(('classifier', 'fc.')):
        return None
    return f'backbone.{key}'


def _fastreid(key: str) -> str | None:
    if key.startswith('backbone.'):
        return key
    match = re.fullmatch(r'heads\.bottleneck\.0\.(.+)', key)
    return match and f'neck.norm.{match[1]}'


def _cluster_contrast(key: str) -> str | None:
    match = re.fullmatch(r'base\.(\d)\.(.+)', key)
    if match:
        return f'backbone.{_SEQUENTIAL_RESNET[int(match[1])]}.{match[2]}'
    match = re.fullmatch(r'feat_bn\.(.+)', key)
    return match and f'neck.norm.{match[1]}'


def _mobilenet_v2_modules() -> Iterator[str]:
    """The layers of mmpretrain's MobileNetV2, from input to output."""
    yield from ('conv1.conv', 'conv1.bn')
    for stage, blocks in enumerate(_MOBILENET_STAGES, 1):
        for block in range(blocks):
            for part in range(2 if stage == 1 else 3):  # [expand,] depthwise, linear
                for layer in ('conv', 'bn'):
                    yield f'layer{stage}.{block}.conv.{part}.{layer}'
    yield from ('conv2.conv', 'conv2.bn')


def _torchvision_mobilenet_v2(keys: list[str]) -> dict[str, str]:
    """By position: torchvision nests its blocks now and did not in the past."""
    keys = [key for key in keys if key.startswith('features.')]
    modules = dict.fromkeys(key.rpartition('.')[0] for key in keys)
    names = dict(zip(modules, _mobilenet_v2_modules()))
    return {
        key: f'backbone.{names[module]}.{field}'
        for key, (module, _, field) in ((key, key.rpartition('.')) for key in keys)
        if module in names
    }


def _each(rename: Callable[[str], str | None]) -> Callable[[list[str]], dict[str, str]]:
    """Lift a rule for one key to a rule for all."""

    def rename_all(keys: list[str]) -> dict[str, str]:
        return {key: name for key in keys if (name := rename(key)) is not None}

    return rename_all


SOURCES: dict[str, Callable[[list[str]], dict[str, str]]] = {
    'torchreid': _each(_torchreid),
    'fast-reid': _each(_fastreid),
    'cluster-contrast': _each(_cluster_contrast),
    'torchvision-mobilenet-v2': _torchvision_mobilenet_v2,
}


def convert_state_dict(state_dict: Mapping, source: str) -> dict[str, Tensor]:
    """Rename the weights of another code base to those of ``UnsupervisedReID``.

    Classifiers and what has no counterpart are left out. A checkpoint's outer
    dict (``state_dict``, ``model``) and a ``module.`` prefix are unwrapped.

    Args:
        state_dict (Mapping): Weights, or a checkpoint that holds them.
        source (str): 'torchreid' (its ResNets), 'fast-reid',
            'cluster-contrast' (and SpCL, whose ResNets are built alike), or
            'torchvision-mobilenet-v2'. cluster-contrast has no ReLU after the
            first convolution, mmpretrain's ResNet has one, so its networks do
            not compute quite the same here.

    Returns:
        dict[str, Tensor]: Keys ``backbone.*`` and, where the source has it,
        ``neck.norm.*``.

    Raises:
        ValueError: If the source is unknown or no key fits it.
    """
    if source not in SOURCES:
        raise ValueError(f'source must be one of {sorted(SOURCES)}, got {source!r}.')
    for outer in ('state_dict', 'model'):
        if isinstance(state_dict.get(outer), Mapping):
            state_dict = state_dict[outer]
    state_dict = {key.removeprefix('module.'): v for key, v in state_dict.items()}
    names = SOURCES[source](list(state_dict))
    converted = {name: state_dict[key] for key, name in names.items()}
    if not any(name.startswith('backbone.') for name in converted):
        example = next(iter(state_dict), 'nothing at all')
        raise ValueError(
            f'No key fits the layout of {source!r}; the first one is {example!r}.'
        )
    return converted
