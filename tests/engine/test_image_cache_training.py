# SPDX-License-Identifier: Apache-2.0
"""A training that decodes every image once ends as one that does not."""

import os

import numpy as np
import pytest
import torch

from mmreid_gcl.config.load import cache_images
from mmreid_gcl.datasets.image_cache import CachedTransforms

from . import processes
from .tiny_training import differences, make_config, outcome, train


@pytest.mark.parametrize(
    'workers,limit',
    [(0, 0.1), (2, 0.1), (0, 20_000 / 2**30)],
    ids=['no workers', 'two workers', 'room for a third of the images'],
)
def test_bit_identical(images, reference, tmp_path, workers, limit):
    config = make_config(images, tmp_path, workers, persistent=bool(workers))
    config.image_cache = dict(limit_gb=limit, folder=str(tmp_path))
    cache_images(config)
    runner = train(config)
    assert differences(outcome(tmp_path), reference) == []
    cached = runner.train_dataloader.dataset.pipeline.transforms[0]
    assert isinstance(cached, CachedTransforms)
    assert len(cached.store) == (36 if limit == 0.1 else 12)


def _rank(rank, path, folder):
    os.environ.update(LOCAL_WORLD_SIZE='2', MASTER_PORT='1')
    load = [dict(type='mmcv.LoadImageFromFile')]
    transform = CachedTransforms(load, limit_gb=0.01, folder=folder)
    seen = []
    for turn in range(2):
        if turn == rank:  # the other one finds what this one has read
            seen.append(transform(dict(img_path=path))['img'].sum())
        torch.distributed.barrier()
        seen.append(len(transform.store))
    return [int(value) for value in seen], sorted(os.listdir(folder))


def test_ranks_share_one(images, tmp_path):
    path = str(next((images / 'query').iterdir()))
    folder = tmp_path / 'memory'
    folder.mkdir()
    (first, names), (second, _) = processes.run(_rank, tmp_path, 2, path, str(folder))
    import cv2

    total = int(np.sum(cv2.imread(path)))
    assert first == [total, 1, 1] and second == [1, total, 1]
    assert names == []  # its name is gone: nothing can stay behind
