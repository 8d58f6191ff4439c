# SPDX-License-Identifier: Apache-2.0
"""What both processes of ``test_distributed`` run."""

import pickle
from datetime import timedelta
from pathlib import Path

import numpy as np
import torch
import torch.distributed as torch_dist
from mmengine.dataset import DefaultSampler

from mmreid_gcl.evaluation import ReIDMetric

from .reference import random_problem

WORLD_SIZE = 2
NUM_QUERIES, NUM_GALLERY = 12, 37  # together odd


def make_samples(seed=0, pids=4, **meta):
    """Data samples of a tie-heavy problem, as an evaluator passes them on."""
    rng = np.random.default_rng(seed)
    problem = random_problem(rng, NUM_QUERIES, NUM_GALLERY, pids)
    parts = [np.concatenate(pair) for pair in zip(problem[:3], problem[3:])]
    return [
        dict(
            feature=torch.tensor(feature, dtype=torch.float32),
            pid=int(pid),
            camid=int(camid),
            is_query=i < NUM_QUERIES,
            **meta,
        )
        for i, (feature, pid, camid) in enumerate(zip(*parts))
    ]


def with_index(samples):
    return [dict(sample, sample_idx=i) for i, sample in enumerate(samples)]


def evaluate(samples, batch_size=5, size=None, **kwargs):
    metric = ReIDMetric(**kwargs)
    for start in range(0, len(samples), batch_size):
        metric.process(None, samples[start : start + batch_size])
    return metric.evaluate(NUM_QUERIES + NUM_GALLERY if size is None else size)


def interleaved(samples, rank):
    return [samples[i] for i in DefaultSampler(samples, shuffle=False)]


def shards(samples, rank):
    """Contiguous parts that overlap, the second back to front."""
    return samples[:30] if rank == 0 else samples[:22:-1]


def two_datasets(rank):
    first = with_index(make_samples(1, dataset='a'))
    second = with_index(make_samples(2, dataset='b'))
    return first if rank == 0 else second


def tiny_blocks(rank):
    """The same through many rounds of communication."""
    from mmreid_gcl import processes

    before, processes._BLOCK_BYTES = processes._BLOCK_BYTES, 100
    try:
        return evaluate(interleaved(make_samples(), rank))
    finally:
        processes._BLOCK_BYTES = before


def mixed_types(rank):
    dtype = torch.float16 if rank == 0 else torch.float64
    samples = interleaved(make_samples(), rank)
    return evaluate([dict(s, feature=s['feature'].to(dtype)) for s in samples])


SCENARIOS = {
    'interleaved': lambda rank: evaluate(interleaved(make_samples(), rank)),
    'shards': lambda rank: evaluate(shards(with_index(make_samples()), rank)),
    'one_rank_empty': lambda rank: evaluate([] if rank == 0 else make_samples()),
    'two_datasets': lambda rank: evaluate(
        two_datasets(rank), size=2 * (NUM_QUERIES + NUM_GALLERY)
    ),
    'tiny_blocks': tiny_blocks,
    'mixed_types': mixed_types,
    'no_match': lambda rank: evaluate(
        [dict(s, camid=0) for s in interleaved(make_samples(), rank)]
    ),
    'too_few': lambda rank: evaluate(interleaved(make_samples(), rank), size=60),
    'nothing': lambda rank: evaluate([]),
    'other_width': lambda rank: evaluate(
        [dict(s, feature=torch.ones(3 + rank)) for s in make_samples()]
    ),
    # After errors the group must still work.
    'interleaved_again': lambda rank: evaluate(interleaved(make_samples(), rank)),
}


def run(rank, folder):
    """Run every scenario; what came out, or the error, by name."""
    torch_dist.init_process_group(
        'gloo',
        init_method=f'file://{folder}/rendezvous',
        rank=rank,
        world_size=WORLD_SIZE,
        timeout=timedelta(seconds=240),
    )
    outcomes = {}
    try:
        for name, scenario in SCENARIOS.items():
            try:
                outcomes[name] = scenario(rank)
            except Exception as error:
                outcomes[name] = f'{type(error).__name__}: {error}'
    finally:
        torch_dist.destroy_process_group()
    return outcomes


def run_second(index, folder):
    """The process beside the test's own."""
    outcomes = run(index + 1, folder)
    Path(folder, 'second.pkl').write_bytes(pickle.dumps(outcomes))
