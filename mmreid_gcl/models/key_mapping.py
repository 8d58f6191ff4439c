# SPDX-License-Identifier: Apache-2.0
"""Renaming of weights from other code bases."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping

from torch import Tensor

#: Where cluster-contrast's ``nn.Sequential`` keeps the parts of its ResNet.
_SEQUENTIAL_RESNET = ('conv1', 'bn1', None, 'layer1', 'layer2', 'layer3', 'layer4')
#: Blocks in each stage of MobileNetV2.
_MOBILENET_STAGES = (1, 2, 3, 4, 3, 3, 1)
_NORM = r'(weight|bias|running_mean|running_var|num_batches_tracked)'
#: The keys of a ResNet, also of one with instance norms (``IBNResNet``).
_RESNET = re.compile(
    rf'conv1\.weight|bn1\.{_NORM}|layer[1-4]\.\d+\.(conv[1-3]\.weight|'
    rf'bn[1-3]\.((IN|BN)\.)?{_NORM}|downsample\.(0\.weight|1\.{_NORM}))'
)
#: What none may lack.
_RESNET_PARTS = ('conv1.weight', *(f'layer{i}.0.conv1.weight' for i in range(1, 5)))


def _resnet(key: str) -> str | None:
    return f'backbone.{key}' if _RESNET.fullmatch(key) else None


def _norm(key: str, prefix: str) -> str | None:
    match = re.fullmatch(rf'({prefix})\.{_NORM}', key)
    return match and f'neck.norm.{match[2]}'


# Each rule gives the new name of a key, '' for what is left out, None for what the
# source does not have.
def _torchreid(key: str) -> str | None:
    return '' if key.startswith(('classifier.', 'fc.')) else _resnet(key)


def _fastreid(key: str) -> str | None:
    if key.startswith('backbone.'):
        return _resnet(key.removeprefix('backbone.'))
    if key == 'heads.pool_layer.p':
        return 'neck.pooling.p'
    if re.fullmatch(
        r'heads\.(weight|(classifier|cls_layer)\..+)|pixel_(mean|std)', key
    ):
        return ''
    return _norm(key, r'heads\.(?:bottleneck\.0|bnneck)')


def _cluster_contrast(key: str) -> str | None:
    match = re.fullmatch(r'base\.([013456])\.(.+)', key)
    if match:
        return _resnet(f'{_SEQUENTIAL_RESNET[int(match[1])]}.{match[2]}')
    if key == 'gap.p':
        return 'neck.pooling.p'
    return '' if key.startswith('classifier.') else _norm(key, 'feat_bn')


def _mobilenet_v2_modules() -> Iterator[str]:
    """The layers of mmpretrain's MobileNetV2, from input to output."""
    yield from ('conv1.conv', 'conv1.bn')
    for stage, blocks in enumerate(_MOBILENET_STAGES, 1):
        for block in range(blocks):
            for part in range(2 if stage == 1 else 3):  # [expand,] depthwise, linear
                for layer in ('conv', 'bn'):
                    yield f'layer{stage}.{block}.conv.{part}.{layer}'
    yield from ('conv2.conv', 'conv2.bn')


def _torchvision_mobilenet_v2(state_dict: Mapping[str, Tensor]) -> dict[str, str]:
    """By position: torchvision nests its blocks now and did not in the past."""
    names = {key: '' for key in state_dict if key.startswith('classifier.')}
    keys = [key for key in state_dict if key.startswith('features.')]
    theirs = dict.fromkeys(key.rpartition('.')[0] for key in keys)
    ours = dict(zip(theirs, _mobilenet_v2_modules()))
    if len(theirs) != len(list(_mobilenet_v2_modules())):
        return names
    for key in keys:
        module, _, field = key.rpartition('.')
        is_conv = f'{module}.running_mean' not in state_dict
        if is_conv == ours[module].endswith('conv'):
            names[key] = f'backbone.{ours[module]}.{field}'
    return names


def _each(
    rename: Callable[[str], str | None],
) -> Callable[[Mapping[str, Tensor]], dict[str, str]]:
    """Lift a rule for one key to a rule for all."""

    def rename_all(state_dict: Mapping[str, Tensor]) -> dict[str, str]:
        names = {key: rename(key) for key in state_dict}
        found = {key: name for key, name in names.items() if name is not None}
        whole = {f'backbone.{part}' for part in _RESNET_PARTS} <= set(found.values())
        return found if whole else {}

    return rename_all


SOURCES: dict[str, Callable[[Mapping[str, Tensor]], dict[str, str]]] = {
    'torchreid': _each(_torchreid),
    'fast-reid': _each(_fastreid),
    'cluster-contrast': _each(_cluster_contrast),
    'torchvision-mobilenet-v2': _torchvision_mobilenet_v2,
}
_EXPECTED = {
    'torchreid': 'conv1.weight, layer1.0.conv1.weight, …, layer4.… (a ResNet)',
    'fast-reid': 'backbone.conv1.weight, backbone.layer1.0.conv1.weight, …, '
    'heads.bottleneck.0.weight (a ResNet)',
    'cluster-contrast': 'base.0.weight, base.1.weight, base.3.0.conv1.weight, …, '
    'feat_bn.weight (a ResNet)',
    'torchvision-mobilenet-v2': 'features.0.0.weight, … of 104 layers',
}


def convert_state_dict(state_dict: Mapping, source: str) -> dict[str, Tensor]:
    """Rename the weights of another code base to those of ``UnsupervisedReID``.

    Classifiers are left out. A checkpoint's outer dict (``state_dict``, ``model``)
    and a ``module.`` prefix are unwrapped.

    Args:
        state_dict (Mapping): Weights, or a checkpoint that holds them.
        source (str): 'torchreid' (its ResNets), 'fast-reid' (its ResNets),
            'cluster-contrast' (and SpCL, whose ResNets are built alike), or
            'torchvision-mobilenet-v2'. cluster-contrast has no ReLU after the
            first convolution, mmpretrain's ResNet has one, so its networks do
            not compute quite the same here.

    Returns:
        dict[str, Tensor]: Keys ``backbone.*`` and, where the source has it,
        ``neck.norm.*`` and ``neck.pooling.p`` (of ``pooling='gem'``).

    Raises:
        ValueError: If the source is unknown, or a key or a layer is not its.
    """
    if source not in SOURCES:
        raise ValueError(f'source must be one of {sorted(SOURCES)}, got {source!r}.')
    for outer in ('state_dict', 'model'):
        if isinstance(state_dict.get(outer), Mapping):
            state_dict = state_dict[outer]
    weights = {str(k).removeprefix('module.'): v for k, v in state_dict.items()}
    unknown = _unknown(weights, source)
    if unknown is not None:
        fitting = [name for name in SOURCES if _unknown(weights, name) is None]
        hint = f' It is a file of {fitting[0]!r}.' if fitting else ''
        raise ValueError(
            f'This is no file of {source!r}: expected the keys {_EXPECTED[source]}; '
            f'found {unknown}.{hint}'
        )
    names = SOURCES[source](weights)
    return {name: weights[key] for key, name in names.items() if name}


def _unknown(weights: Mapping, source: str) -> str | None:
    """What does not fit a source; None if all does."""
    others = [key for key, value in weights.items() if not isinstance(value, Tensor)]
    names = {} if others else SOURCES[source](weights)
    wrong = [key for key in weights if key not in names]
    # an embedding layer may stand where the batch norm is expected
    wrong += [k for k, n in names.items() if n[:5] == 'neck.' and weights[k].ndim > 1]
    if not wrong:
        return None if names else 'nothing at all'
    more = f' and {len(wrong) - 1} more' if len(wrong) > 1 else ''
    return f'{wrong[0]!r}{more}'
