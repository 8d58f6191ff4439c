# SPDX-License-Identifier: Apache-2.0
"""The search for neighbours on all processes equals that of one."""

from contextlib import nullcontext

import numpy as np
import pytest
import torch

from mmreid_gcl.clustering import Labeller, _knn_torch, knn, knn_search
from mmreid_gcl.processes import on_rank_zero
from tests.engine.processes import run

KNN = dict(backend='torch', device='cpu', chunk_bytes=4 * 90 * 7)  # 13 chunks


def crowd():
    """90 images of 15 people."""
    rng = np.random.default_rng(0)
    people = rng.standard_normal((15, 12)).repeat(6, axis=0)
    return (people + 0.4 * rng.standard_normal((90, 12))).astype(np.float32)


def whole_numbers():
    """Every product is exact, and many distances are equal."""
    return np.random.default_rng(1).integers(0, 4, (90, 5)).astype(np.float32)


def labels(**options):
    clusterer = dict(type='DBSCANClusterer', k1=6, k2=2, min_samples=2, knn=options)
    return Labeller(clusterer)(torch.from_numpy(crowd()), {}).labels


def _search(rank):
    knn.all_cores = nullcontext  # OpenMP's threads do not survive a fork
    searched = []
    rows = _knn_torch.RowSearch.rows

    def seen(self, start, stop):
        searched.append((start, stop))
        return rows(self, start, stop)

    _knn_torch.RowSearch.rows = seen
    x = whole_numbers()

    def work():
        found = [knn_search(x, 9, **KNN, all_ranks=True)]
        found.append(knn_search(x, 9, **KNN, precision='bfloat16', all_ranks=True))
        found.append(labels(**KNN, all_ranks=True))
        found.append(knn_search(x[:3], 2, 'torch', device='cpu', all_ranks=True))
        return found

    found = on_rank_zero(work)
    shared = list(searched)
    on_rank_zero(lambda: knn_search(x, 9, **KNN))  # not by default on a CPU
    knn_search(x, 9, **KNN, all_ranks=True)  # the others do not wait
    return found, shared, searched[len(shared) :]


@pytest.mark.parametrize('world_size', [2, 3])
def test_as_one_process(tmp_path, world_size):
    (found, *_), *others = outcomes = run(_search, tmp_path, world_size)
    x = whole_numbers()
    exact, low, pseudo, few = found
    for (distances, indices), expected in (
        (exact, knn_search(x, 9, **KNN)),
        (low, knn_search(x, 9, **KNN, precision='bfloat16')),
        (few, knn_search(x[:3], 2)),
    ):
        np.testing.assert_array_equal(distances, expected[0])
        np.testing.assert_array_equal(indices, expected[1])
    expected = labels(**KNN)
    assert 10 < expected.max() < 16 and expected.shape == (90,)
    np.testing.assert_array_equal(pseudo, expected)
    np.testing.assert_array_equal(pseudo, labels(backend='faiss'))
    assert all(other[0] is None for other in others)
    # 13 chunks of 7 rows, the last of 6
    ends = {2: [0, 49, 90], 3: [0, 35, 70, 90]}[world_size]
    for rank, (_, shared, alone) in enumerate(outcomes):
        assert shared[:3] == 3 * [(ends[rank], ends[rank + 1])]
        assert shared[3] == ((0, 3) if rank == 0 else (3, 3))  # one chunk
        assert alone == ([(0, 90)] * (2 if rank == 0 else 1))


def _fail(rank, broken):
    knn.all_cores = nullcontext
    rows = _knn_torch.RowSearch.rows

    def fail(self, start, stop):
        if rank == broken:
            raise MemoryError(f'rank {rank} is full')
        return rows(self, start, stop)

    x = whole_numbers()

    def work():
        return knn_search(x, 9, **KNN, all_ranks=True)

    def go_on():
        try:
            return work()
        except Exception:
            return 'without neighbours'

    outcomes = []
    _knn_torch.RowSearch.rows = fail
    try:
        on_rank_zero(work)
    except Exception as error:
        outcomes.append(f'{type(error).__name__}: {error}')
    outcomes.append(on_rank_zero(go_on))
    _knn_torch.RowSearch.rows = rows
    outcomes.append(on_rank_zero(work) is not None)  # all are still in step
    return outcomes


@pytest.mark.parametrize('broken', [0, 2])
def test_an_error_of_one_ends_all(tmp_path, broken):
    outcomes = run(_fail, tmp_path, 3, broken)
    for rank, (message, second, last) in enumerate(outcomes):
        assert f'MemoryError: rank {broken} is full' in message
        assert second == ('without neighbours' if rank == 0 else None)
        assert last == (rank == 0)
