# SPDX-License-Identifier: Apache-2.0
"""The list of parts that a config inside a checkpoint may build.

The stack's registries hold types that run code from their arguments. So only these
parts are built. Arguments are numbers, truth values and the texts listed here; a text
is never a path, an address or code.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from mmengine.registry import Registry

from mmreid_gcl.clustering.knn import BACKENDS
from mmreid_gcl.environment import import_mmpretrain
from mmreid_gcl.registry import HOOKS, MODELS, TASK_UTILS, TRANSFORMS

from .option_names import arguments_of

_Texts = dict[str, Iterable[str]]  # argument: texts that it may be

_NO_TEXTS: _Texts = {}
_FEATURE: _Texts = dict(feature=('embedding', 'relation', 'pooled', 'normed'))
_KNN: _Texts = dict(
    backend=('auto', *BACKENDS), precision=('float32', 'tf32', 'float16', 'bfloat16')
)
_INTERPOLATION: _Texts = dict(
    interpolation=('nearest', 'bilinear', 'bicubic', 'area', 'lanczos'),
    backend=('cv2', 'pillow'),
)
_RESNET: _Texts = dict(style=('pytorch', 'caffe'))
_NORMS = dict.fromkeys(('BN', 'BN1d', 'BN2d', 'SyncBN', 'GN', 'IN', 'LN'), _NO_TEXTS)
_META_KEYS = (
    *('sample_idx', 'img_path', 'pid', 'camid', 'is_query', 'sequence', 'frame'),
    *('track', 'ori_shape', 'img_shape', 'scale_factor', 'flip', 'flip_direction'),
)

#: Place in a config: its registry, and the parts that it may have.
PARTS: dict[str, tuple[Registry, dict[str, _Texts]]] = {
    'model': (MODELS, {'UnsupervisedReID': _NO_TEXTS}),
    'data_preprocessor': (MODELS, {'ClsDataPreprocessor': _NO_TEXTS}),
    'backbone': (
        MODELS,
        {
            'ResNet': _RESNET,
            'IBNResNet': _RESNET,
            'MobileNetV2': _NO_TEXTS,
            'VisionTransformer': dict(
                arch=(
                    *('small', 'base', 'large', 'deit-tiny', 'deit-small', 'deit-base'),
                    *('dinov2-small', 'dinov2-base', 'dinov2-large'),
                ),
                out_type=('cls_token', 'featmap', 'avg_featmap', 'raw'),
                interpolate_mode=('bilinear', 'bicubic'),
            ),
        },
    ),
    'neck': (
        MODELS,
        {'EmbeddingNeck': dict(pooling=('avg', 'gem'), tokens=('class', 'mean'))},
    ),
    'relation_neck': (MODELS, {'GCLNeck': _NO_TEXTS}),
    'head': (
        MODELS,
        {
            'SelectiveMemoryHead': dict(
                **_FEATURE,
                policy=('selective', 'average', 'random', 'sequential'),
                loss_queries=('auto', 'selected', 'all'),
            ),
            'CameraProxyHead': _FEATURE,
            'HybridMemoryHead': _FEATURE,
            'IdentityHead': _FEATURE,
            'InstanceContrastHead': _FEATURE,
            'NeighbourLabelHead': dict(
                **_FEATURE, policy=('selective', 'average', 'random', 'sequential')
            ),
            'TripletHead': _FEATURE,
        },
    ),
    'norm_cfg': (MODELS, _NORMS),
    'act_cfg': (
        MODELS,
        dict.fromkeys(('ReLU', 'ReLU6', 'GELU', 'HSwish', 'Swish'), _NO_TEXTS),
    ),
    'conv_cfg': (MODELS, {'Conv2d': _NO_TEXTS}),
    'test_pipeline': (
        TRANSFORMS,
        {
            'LoadImageFromFile': dict(
                color_type=('color', 'grayscale', 'color_ignore_orientation'),
                imdecode_backend=('cv2', 'pillow'),
            ),
            'Resize': _INTERPOLATION,
            'ResizeEdge': dict(
                **_INTERPOLATION, edge=('short', 'long', 'width', 'height')
            ),
            'CenterCrop': _NO_TEXTS,
            'Pad': dict(padding_mode=('constant', 'edge', 'reflect', 'symmetric')),
            'PackInputs': dict(meta_keys=_META_KEYS, input_key=('img',)),
        },
    ),
    'PseudoLabelHook': (
        HOOKS,
        {'PseudoLabelHook': dict(camera_norm=('mean', 'standardize'))},
    ),
    'clusterer': (
        TASK_UTILS,
        {
            'DBSCANClusterer': dict(eps=('auto',)),
            'HDBSCANClusterer': dict(cluster_selection_method=('eom', 'leaf')),
            'InfomapClusterer': _NO_TEXTS,
            'KMeansClusterer': _NO_TEXTS,
            'SelfPacedClusterer': _NO_TEXTS,
            'TrackClusterer': _NO_TEXTS,
            'ShuffledLabels': _NO_TEXTS,
            'FrozenLabels': _NO_TEXTS,
        },
    ),
    'graphs': (
        TASK_UTILS,
        {
            'OrderedGraphs': dict(order=('filename', 'camera_time', 'random')),
            'NeighbourGraphs': _NO_TEXTS,
        },
    ),
}
PARTS['relation_head'] = PARTS['head']

#: Scopes that a listed name may have before it.
_SCOPES = ('mmreid_gcl', 'mmpretrain', 'mmengine')
#: What builders take out before they build.
_OF_BUILDERS = {'norm_cfg': {'requires_grad'}}


def allowed_part(settings: Any, place: str) -> dict[str, Any]:
    """A part of a config as a file may give it.

    Args:
        settings (Any): ``dict(type=..., ...)``.
        place (str): A key of :data:`PARTS`.

    Returns:
        dict[str, Any]: A copy, without ``init_cfg``: weights are in the checkpoint.

    Raises:
        ValueError: If it is not on the list, or an argument is not what it may be.
            The message names the type.
    """
    _register_all()
    registry, parts = PARTS[place]
    kind = settings.get('type') if isinstance(settings, Mapping) else None
    name = _listed_name(kind, registry, parts)
    if name is None:
        raise ValueError(
            f'{place} names the type {kind!r}, which is not registered as one that a '
            f'file may build; expected {_listed(parts)}'
        )
    known = (arguments_of(registry.get(name)) or set()) | _OF_BUILDERS.get(place, set())
    kept: dict[str, Any] = {'type': kind}
    for key, value in settings.items():
        if key == 'type' or (key == 'init_cfg' and value is not None):
            continue
        inside = f'{place}.{key}'
        if key not in known:
            raise ValueError(f'{inside}: {name} has no argument {key!r}')
        if key in PARTS and isinstance(value, Mapping):
            kept[key] = allowed_part(value, key)
        elif key in PARTS and isinstance(value, (list, tuple)):
            kept[key] = [allowed_part(item, key) for item in value]
        elif key == 'knn' and isinstance(value, Mapping):
            kept[key] = {
                option: _plain(given, f'{inside}.{option}', _KNN.get(option, ()))
                for option, given in value.items()
            }
        else:
            kept[key] = _plain(value, inside, parts[name].get(key, ()))
    return kept


def _listed_name(kind: Any, registry: Registry, parts: Mapping) -> str | None:
    """The listed name that ``kind`` stands for, None if it stands for none."""
    if not isinstance(kind, str):
        return None
    scope, _, name = kind.rpartition('.')
    if name not in parts or (scope and scope not in _SCOPES):
        return None
    # for example mmengine.GCLNeck: there is none, and another may come to be
    return name if registry.get(kind) is registry.get(name) else None


def _plain(value: Any, place: str, texts: Iterable[str]) -> Any:
    """A number, a truth value, None, a listed text, or a sequence of them."""
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, (list, tuple)):
        return type(value)(_plain(item, place, texts) for item in value)
    if isinstance(value, Mapping) and not value:
        return {}
    if isinstance(value, str) and value in texts:
        return value
    expected = f'a number or {_listed(texts)}' if texts else 'a number'
    shown = repr(value)
    shown = shown if len(shown) < 80 else f'{shown[:77]}…'
    raise ValueError(f'{place} is {shown}; a file may give {expected} there')


def _listed(names: Iterable[str]) -> str:
    return ', '.join(sorted(names))


def _register_all() -> None:
    import_mmpretrain('datasets', 'models')
    import mmreid_gcl.clustering
    import mmreid_gcl.engine
    import mmreid_gcl.models  # noqa: F401  (all of them register their classes)
