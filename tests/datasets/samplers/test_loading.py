# SPDX-License-Identifier: Apache-2.0
"""Sampler, data set and workers together."""

import numpy as np
import pytest
import torch
from mmengine.dataset import pseudo_collate
from mmengine.registry import DefaultScope
from torch.utils.data import DataLoader

from mmreid_gcl.datasets import PKSampler

from .tiny import AUGMENTATION, TinyPeople, write_people

LABELS = np.arange(TinyPeople.COUNT) % 4


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    return write_people(tmp_path_factory.mktemp('people'))


def make_loader(folder, workers, num_batches=3, **kwargs):
    with DefaultScope.overwrite_default_scope('mmreid_gcl'):
        dataset = TinyPeople(str(folder), pipeline=AUGMENTATION)
    sampler = PKSampler(dataset, 3, 2, num_batches=num_batches, seed=5)
    sampler.set_labels(LABELS)
    return DataLoader(
        dataset,
        batch_size=sampler.batch_size,
        sampler=sampler,
        num_workers=workers,
        persistent_workers=workers > 0,
        collate_fn=pseudo_collate,
        **kwargs,
    )


def load(loader, epoch=0):
    """Images and (position, label) of an epoch."""
    loader.sampler.set_epoch(epoch)
    images, facts = [], []
    for batch in loader:
        images.append(torch.stack(batch['inputs']))
        facts.append([(s.sample_idx, int(s.gt_label)) for s in batch['data_samples']])
    return torch.stack(images), facts


def test_persistent_workers_see_new_labels(folder):
    loader = make_loader(folder, workers=2)
    for epoch, labels in enumerate((LABELS, LABELS[::-1].copy(), LABELS // 2)):
        loader.sampler.set_labels(labels)
        _, facts = load(loader, epoch)
        assert len(facts) == 3
        for batch in facts:
            assert len(batch) == 6
            for index, label in batch:
                assert label == labels[index]


def test_augmentation_is_a_function_of_the_position(folder):
    """Any number of workers, any state of the process, the same images."""
    expected = [load(make_loader(folder, 0), epoch) for epoch in (0, 1)]
    assert not torch.equal(expected[0][0], expected[1][0])
    for workers in (0, 1, 2):
        torch.manual_seed(workers)
        np.random.seed(workers)
        loader = make_loader(folder, workers)
        for epoch in (0, 1):  # with 2 workers, the workers of epoch 0 go on
            images, facts = load(loader, epoch)
            assert torch.equal(images, expected[epoch][0])
            assert facts == expected[epoch][1]


def test_it_is_random_within_an_epoch(folder):
    """One image drawn twice looks different, at least once."""
    loader = make_loader(folder, 0, num_batches=20)
    images, facts = load(loader)
    views = {}
    for batch, names in zip(images, facts):
        for image, (index, _) in zip(batch, names):
            views.setdefault(index, set()).add(image.numpy().tobytes())
    drawn = sum(len(batch) for batch in facts)
    assert sum(map(len, views.values())) > drawn * 0.7


def test_resume_inside_an_epoch(folder):
    loader = make_loader(folder, 0, num_batches=5)
    images, facts = load(loader, 2)
    loader.sampler.skip_batches = 2
    rest, rest_facts = load(loader, 2)
    assert torch.equal(rest, images[2:]) and rest_facts == facts[2:]


def test_main_process_keeps_its_stream(folder):
    """Transforms that run in the main process draw nothing of the model's."""
    torch.manual_seed(1)
    np.random.seed(1)
    expected = torch.rand(3), np.random.rand(3)
    loader = iter(make_loader(folder, 0))
    torch.manual_seed(1)
    np.random.seed(1)
    next(loader)
    assert torch.equal(torch.rand(3), expected[0])
    assert np.array_equal(np.random.rand(3), expected[1])


def test_spread_cameras(folder):
    dataset = TinyPeople(str(folder))
    sampler = PKSampler(dataset, 4, 3, 4, spread_cameras=True, seed=0)
    camids = dataset.column('camid')
    sampler.set_labels(dataset.column('frame') // 5)
    drawn = list(sampler)
    for at in range(0, len(drawn), 3):
        assert sorted(camids[drawn[at : at + 3]]) == [0, 1, 2]
