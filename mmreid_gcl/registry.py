# SPDX-License-Identifier: Apache-2.0
"""Registries of the scope ``mmreid_gcl``.

They are children of mmpretrain's registries, so that a config of this package
names modules of mmpretrain and mmengine without a prefix. From any other
scope, ``type='mmreid_gcl.GCLNeck'`` finds ours.
"""

from mmengine.registry import Registry
from mmpretrain import registry as parents

_SCOPE = 'mmreid_gcl'


def _child(name: str, parent: Registry, location: str) -> Registry:
    return Registry(
        name, parent=parent, scope=_SCOPE, locations=[f'{_SCOPE}.{location}']
    )


DATASETS = _child('dataset', parents.DATASETS, 'datasets')
DATA_SAMPLERS = _child('data sampler', parents.DATA_SAMPLERS, 'datasets')
TRANSFORMS = _child('transform', parents.TRANSFORMS, 'datasets')
MODELS = _child('model', parents.MODELS, 'models')
HOOKS = _child('hook', parents.HOOKS, 'engine')
LOOPS = _child('loop', parents.LOOPS, 'engine')
OPTIM_WRAPPERS = _child('optimizer wrapper', parents.OPTIM_WRAPPERS, 'engine')
METRICS = _child('metric', parents.METRICS, 'evaluation')
TASK_UTILS = _child('task util', parents.TASK_UTILS, 'clustering')
