# SPDX-License-Identifier: Apache-2.0
"""The code blocks of docs/extending.md, run in their order, and what they made."""

import sys
import types

import numpy as np
import pytest
import torch
from mmengine.runner import Runner

from mmreid_gcl.apis import load_config
from mmreid_gcl.clustering import Labeller
from mmreid_gcl.registry import DATASETS, MODELS, TASK_UTILS
from tests.datasets.layouts import write_image
from tests.synthetic_training import small_config, write_people

from .pages import DOCS, ROOT, blocks

CODE = [
    code
    for language, code in blocks((DOCS / 'extending.md').read_text(encoding='utf-8'))
    if language == 'python'
]
ADDED = {
    'MyBenchmark': DATASETS,
    'ComponentsClusterer': TASK_UTILS,
    'MarginMemoryHead': MODELS,
}


@pytest.fixture(scope='module')
def made():
    """What the blocks define; the registries are as before in the end."""
    namespace: dict = {'__name__': 'my_parts'}
    for code in CODE:
        if not code.startswith('# my_method.py'):
            exec(compile(code, 'docs/extending.md', 'exec'), namespace)
    yield namespace
    for name, registry in ADDED.items():
        registry._module_dict.pop(name)


def test_registered(made):
    for name, registry in ADDED.items():
        assert registry.get(name) is made[name]


def test_data_set(made, tmp_path):
    write_image(tmp_path / 'my-benchmark-v1' / 'probe' / '0007_c3_0001.jpg')
    dataset = DATASETS.build(
        dict(type='MyBenchmark', data_root=str(tmp_path), split='query')
    )
    assert dataset.column('pid').tolist() == [7]
    assert dataset.column('camid').tolist() == [2]
    assert dataset.column('is_query').tolist() == [True]


def components_by_loops(distances, radius, min_size):
    """Flood the graph image by image."""
    count = len(distances)
    labels, cluster = [-1] * count, 0
    for start in range(count):
        if labels[start] != -1:
            continue
        found, todo = {start}, [start]
        while todo:
            i = todo.pop()
            for j in range(count):
                if distances[i][j] <= radius and j not in found:
                    found.add(j)
                    todo.append(j)
        if len(found) >= min_size:
            for i in found:
                labels[i] = cluster
            cluster += 1
        else:
            labels[start] = -2  # seen
    return [max(label, -1) for label in labels]


@pytest.mark.parametrize('radius', [0.2, 0.35, 0.5])
@pytest.mark.parametrize('min_size', [1, 2, 4])
def test_clusterer(made, radius, min_size):
    rng = np.random.default_rng(3)
    people = rng.normal(size=(8, 16)).repeat([1, 2, 3, 4, 5, 6, 7, 8], axis=0)
    noisy = people + 0.35 * rng.normal(size=people.shape)
    features = torch.from_numpy(noisy.astype(np.float32))
    config = dict(type='ComponentsClusterer', max_distance=radius, k1=6, k2=2)
    outcome = Labeller(dict(config, min_size=min_size))(features, records={})
    graph = outcome.distances.tocoo()
    distances = np.ones((36, 36))
    distances[graph.row, graph.col] = graph.data
    expected = components_by_loops(distances, radius, min_size)
    assert outcome.labels.tolist() == expected
    assert outcome.labels.dtype == np.int64
    assert len(set(expected)) > 2
    assert outcome.silhouette is not None


def test_clusters_of_the_page(made):
    assert made['outcome'].labels.tolist() == np.repeat(np.arange(6), 10).tolist()


def test_head(made):
    """Memory, loss and update by loops."""
    rng = np.random.default_rng(0)
    features = rng.normal(size=(9, 4))
    labels = np.array([0, 0, 1, 1, 2, 2, 2, -1, -1])
    head = MODELS.build(dict(type='MarginMemoryHead', in_channels=4, margin=0.2))
    head.init_memory(torch.from_numpy(features), torch.from_numpy(labels))
    unit = np.array([row / np.linalg.norm(row) for row in features])
    memory = []
    for cluster in range(3):
        mean = features[labels == cluster].mean(axis=0)
        memory.append(mean / np.linalg.norm(mean))
    np.testing.assert_allclose(head.memory.numpy(), memory, rtol=1e-12)

    batch = [0, 1, 4, 5]
    total = 0.0
    for i in batch:
        logits = [(unit[i] @ centre) / 0.05 for centre in memory]
        logits[labels[i]] -= 0.2 / 0.05
        total += np.log(np.sum(np.exp(logits))) - logits[labels[i]]
    losses = head.loss(
        torch.from_numpy(features[batch]), torch.from_numpy(labels[batch])
    )
    assert list(losses) == ['loss_margin']
    assert losses['loss_margin'].item() == pytest.approx(total / len(batch))

    head.apply_update()
    for cluster in (0, 2):
        mean = unit[[i for i in batch if labels[i] == cluster]].mean(axis=0)
        moved = 0.2 * memory[cluster] + 0.8 * mean / np.linalg.norm(mean)
        memory[cluster] = moved / np.linalg.norm(moved)
    np.testing.assert_allclose(head.memory.numpy(), memory, rtol=1e-12)


def test_head_of_the_page_has_been_updated(made):
    head, labels = made['head'], made['labels']
    before = MODELS.build(dict(type='MarginMemoryHead', in_channels=32))
    before.init_memory(made['features'], labels)
    moved = (head.memory != before.memory).any(dim=1)
    assert moved.tolist() == [True, True, False, False, False, False]


def test_method_trains(made, tmp_path):
    """The model of the page, smaller, learns from its own pseudo-labels."""
    assert type(made['reid'].head) is made['MarginMemoryHead']
    assert made['reid'].memory_heads == [made['reid'].head]
    people = write_people(tmp_path / 'people', num_train_ids=6, num_test_ids=4)
    model = made['model']
    narrow = dict(model['backbone'], stem_channels=8, base_channels=8)
    model = dict(
        model,
        backbone=narrow,
        neck=dict(model['neck'], in_channels=64),
        head=dict(model['head'], in_channels=64),
    )
    cfg = small_config(people, tmp_path / 'work')
    cfg.model = model
    hook = cfg.default_hooks.pseudo_labels
    hook.clusterer = dict(
        type='ComponentsClusterer', max_distance=0.4, min_size=2, k1=8, k2=3
    )
    hook.graphs, hook.refine = None, False
    cfg.train_dataloader.sampler.update(num_identities=2, num_batches=2)
    cfg.train_dataloader.batch_size = 8
    cfg.train_cfg.update(max_epochs=1, val_interval=1)
    runner = Runner.from_cfg(cfg)
    weight = runner.model.backbone.conv1.weight.detach().clone()
    runner.train()
    assert not torch.equal(weight, runner.model.backbone.conv1.weight)
    clusters, width = runner.model.head.memory.shape
    assert clusters >= 2 and width == 64
    torch.testing.assert_close(
        runner.model.head.memory.norm(dim=1), torch.ones(clusters)
    )


def test_config_of_the_page(made, tmp_path, monkeypatch):
    """The file names the parts as load_config and the registries know them."""
    (code,) = [code for code in CODE if code.startswith('# my_method.py')]
    path = tmp_path / 'my_method.py'
    path.write_text(code.replace("'configs/", f"'{ROOT}/configs/"))
    monkeypatch.setitem(sys.modules, 'my_parts', types.ModuleType('my_parts'))
    cfg = load_config(str(path))
    assert cfg.model.head.type == 'MarginMemoryHead'
    assert cfg.model.relation_neck is None
    assert isinstance(MODELS.build(cfg.model.head), made['MarginMemoryHead'])
    settings = cfg.default_hooks.pseudo_labels
    clusterer = TASK_UTILS.build(settings.clusterer)
    assert isinstance(clusterer, made['ComponentsClusterer'])
    assert settings.graphs is None and not settings.refine
    assert cfg.train_dataloader.sampler.spread_cameras
    assert cfg.custom_imports.imports == ['mmreid_gcl', 'my_parts']
