# SPDX-License-Identifier: Apache-2.0
import importlib
import json
import subprocess
import sys

import pytest
from mmengine.registry import DefaultScope, Registry

import mmreid_gcl
from mmreid_gcl import registry

OWN = {
    'MODELS': ['EmbeddingNeck', 'GCLNeck', 'SelectiveMemoryHead', 'UnsupervisedReID'],
    'HOOKS': ['PositionSeedHook', 'PseudoLabelHook'],
    'DATASETS': ['DukeMTMCreID', 'MSMT17', 'Market1501', 'PersonFolder'],
    'DATA_SAMPLERS': ['PKSampler'],
    'METRICS': ['ReIDMetric'],
    'TASK_UTILS': ['DBSCANClusterer', 'NeighbourGraphs', 'OrderedGraphs'],
}
# Names that other people depend on, and where they look for them
PUBLIC = {
    'models': [
        'EmbeddingNeck',
        'GCLNeck',
        'SelectiveMemoryHead',
        'UnsupervisedReID',
        'selective_contrastive_loss',
        'update_memory',
    ],
    'engine': ['PseudoLabelHook'],
    'datasets': ['DukeMTMCreID', 'MSMT17', 'Market1501', 'PKSampler', 'PersonFolder'],
    'clustering': ['k_reciprocal_jaccard', 'knn_search'],
    'evaluation': ['ReIDMetric', 'evaluate_ranking'],
    'apis': ['ReIDInferencer'],
}

# Run in a process that has imported nothing but the package, as a config of
# another project does with custom_imports; a fork for every scope, so that no
# scope profits from what was looked up from another.
FRESH = """
import json, logging, os, sys
from mmengine.registry import DefaultScope, Registry
import mmengine.registry as roots
# what all forks would load, to load it once
import cv2, faiss, mmpretrain.datasets, mmpretrain.models, numba, sklearn.cluster
import mmreid_gcl
assert 'mmreid_gcl.models' not in sys.modules  # quick: nothing is loaded yet

own = json.loads(sys.argv[1])
foreign = [
    Registry(name, parent=getattr(roots, name), scope='elsewhere') for name in own
]
failed = []
for scope in ('mmengine', 'mmpretrain', 'elsewhere', 'mmreid_gcl'):
    pid = os.fork()
    if pid:
        failed.append(os.waitpid(pid, 0)[1])
        continue
    with DefaultScope.overwrite_default_scope(scope):
        for name, classes in own.items():
            for wanted in classes:
                with getattr(roots, name).switch_scope_and_registry(None) as where:
                    assert where.scope == scope, (where, scope)
                    found = where.get(f'mmreid_gcl.{wanted}')
                assert found is getattr(mmreid_gcl, wanted), (scope, wanted, found)
        cfg = dict(type='mmreid_gcl.GCLNeck', in_channels=4)
        assert type(roots.MODELS.build(cfg)).__module__.startswith('mmreid_gcl.')
    os._exit(0)
print(failed)
"""


@pytest.fixture
def elsewhere():
    """A project that has nothing to do with ours."""
    import mmengine.registry as roots

    children = [
        Registry(name, parent=getattr(roots, name), scope='elsewhere') for name in OWN
    ]
    yield
    for child in children:
        child.parent.children.pop('elsewhere')


def test_from_other_scopes_in_a_fresh_process():
    done = subprocess.run(
        [sys.executable, '-c', FRESH, json.dumps(OWN)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == '[0, 0, 0, 0]', done.stderr


@pytest.mark.parametrize('scope', ['mmengine', 'mmpretrain', 'elsewhere'])
def test_building_from_other_scopes(elsewhere, scope):
    from mmengine.registry import DATA_SAMPLERS, HOOKS, METRICS, MODELS, TASK_UTILS

    with DefaultScope.overwrite_default_scope(scope):
        neck = MODELS.build(dict(type='mmreid_gcl.EmbeddingNeck', in_channels=3))
        assert type(neck) is mmreid_gcl.EmbeddingNeck
        head = MODELS.build(dict(type='mmreid_gcl.SelectiveMemoryHead', in_channels=3))
        assert type(head) is mmreid_gcl.SelectiveMemoryHead
        graphs = dict(type='mmreid_gcl.OrderedGraphs', order='random')
        assert type(TASK_UTILS.build(graphs)) is mmreid_gcl.OrderedGraphs
        hook = dict(
            type='mmreid_gcl.PseudoLabelHook',
            clusterer=dict(type='mmreid_gcl.DBSCANClusterer'),
            extract=dict(pipeline=[dict(type='LoadImageFromFile')]),
        )
        assert type(HOOKS.build(hook)) is mmreid_gcl.PseudoLabelHook
        sampler = dict(type='mmreid_gcl.PKSampler', dataset=range(9), seed=0)
        assert type(DATA_SAMPLERS.build(sampler)) is mmreid_gcl.PKSampler
        metric = METRICS.build(dict(type='mmreid_gcl.ReIDMetric'))
        assert type(metric) is mmreid_gcl.ReIDMetric


def test_names_of_the_stack_from_our_scope():
    import mmengine.registry as roots
    import mmpretrain

    built = dict(
        MODELS=dict(type='LinearClsHead', num_classes=3, in_channels=4),
        TRANSFORMS=dict(type='PackInputs'),
        DATA_SAMPLERS=dict(type='DefaultSampler', dataset=range(4)),
        HOOKS=dict(type='CheckpointHook'),
        METRICS=dict(type='Accuracy'),
    )
    with DefaultScope.overwrite_default_scope('mmreid_gcl'):
        for name, cfg in built.items():
            for where in (getattr(roots, name), getattr(registry, name)):
                assert where.build(dict(cfg)) is not None
        head = roots.MODELS.build(built['MODELS'])
        # the head's own default, unprefixed, is found as well
        assert type(head.loss_module) is mmpretrain.models.CrossEntropyLoss
        backbone = roots.MODELS.build(dict(type='ResNet', depth=18))
        assert type(backbone) is mmpretrain.models.ResNet
        neck = roots.MODELS.build(dict(type='GCLNeck', in_channels=4))
        assert type(neck) is mmreid_gcl.GCLNeck


def own_registries():
    return {
        name: value
        for name, value in vars(registry).items()
        if isinstance(value, Registry)
    }


def test_every_registry_of_mmpretrain_has_a_child():
    """Else an unprefixed name would be sought in mmpretrain's scope alone."""
    from mmpretrain import registry as parents

    for name, parent in vars(parents).items():
        if isinstance(parent, Registry) and parent.parent is not None:
            child = getattr(registry, name, None)
            assert child is not None, name
            assert child.parent is parent and child.scope == 'mmreid_gcl'


def test_every_registered_class_is_exported():
    """What finds a name from a foreign scope is an attribute of the package."""
    missing = []
    for child in own_registries().values():
        child.import_from_location()
        missing += [
            name
            for name, cls in child.module_dict.items()
            if cls.__module__.startswith('mmreid_gcl.')
            and getattr(mmreid_gcl, name, None) is not cls
        ]
    assert not missing, 'mmreid_gcl/__init__.py does not export these'


@pytest.mark.parametrize('room', PUBLIC)
def test_public_names(room):
    module = importlib.import_module(f'mmreid_gcl.{room}')
    for name in PUBLIC[room]:
        assert getattr(module, name).__module__.startswith(f'mmreid_gcl.{room}')
        assert name in module.__all__


def test_names_of_the_package():
    for name in mmreid_gcl.__all__:
        assert getattr(mmreid_gcl, name) is not None
    assert sorted(set(mmreid_gcl.__all__)) == sorted(mmreid_gcl.__all__)
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        mmreid_gcl.Nothing  # noqa: B018


def test_version():
    assert mmreid_gcl.__version__.count('.') == 2
