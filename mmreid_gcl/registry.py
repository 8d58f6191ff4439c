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


RUNNERS = _child('runner', parents.RUNNERS, 'engine')
RUNNER_CONSTRUCTORS = _child(
    'runner constructor', parents.RUNNER_CONSTRUCTORS, 'engine'
)
LOOPS = _child('loop', parents.LOOPS, 'engine')
HOOKS = _child('hook', parents.HOOKS, 'engine')
LOG_PROCESSORS = _child('log processor', parents.LOG_PROCESSORS, 'engine')
OPTIMIZERS = _child('optimizer', parents.OPTIMIZERS, 'engine')
OPTIM_WRAPPERS = _child('optimizer wrapper', parents.OPTIM_WRAPPERS, 'engine')
OPTIM_WRAPPER_CONSTRUCTORS = _child(
    'optimizer wrapper constructor', parents.OPTIM_WRAPPER_CONSTRUCTORS, 'engine'
)
PARAM_SCHEDULERS = _child('parameter scheduler', parents.PARAM_SCHEDULERS, 'engine')
DATASETS = _child('dataset', parents.DATASETS, 'datasets')
DATA_SAMPLERS = _child('data sampler', parents.DATA_SAMPLERS, 'datasets')
TRANSFORMS = _child('transform', parents.TRANSFORMS, 'datasets')
MODELS = _child('model', parents.MODELS, 'models')
MODEL_WRAPPERS = _child('model wrapper', parents.MODEL_WRAPPERS, 'models')
WEIGHT_INITIALIZERS = _child(
    'weight initializer', parents.WEIGHT_INITIALIZERS, 'models'
)
TASK_UTILS = _child('task util', parents.TASK_UTILS, 'clustering')
METRICS = _child('metric', parents.METRICS, 'evaluation')
EVALUATORS = _child('evaluator', parents.EVALUATORS, 'evaluation')
VISUALIZERS = _child('visualizer', parents.VISUALIZERS, 'visualization')
VISBACKENDS = _child('vis_backend', parents.VISBACKENDS, 'visualization')
