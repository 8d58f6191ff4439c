# SPDX-License-Identifier: Apache-2.0
"""Images a second that the training pipeline delivers, with and without a cache.

``python tools/benchmarks/loading.py CONFIG [--workers 0 2 --passes 3]`` runs through
the training images of a config, in the batches and with the random transforms of
training, and prints a Markdown table.
"""

from __future__ import annotations

import argparse
import statistics
import time

import numpy as np
from mmengine.config import Config
from mmengine.dataset import default_collate
from mmengine.registry import init_default_scope
from torch.utils.data import DataLoader

from mmreid_gcl.apis import load_config
from mmreid_gcl.cli.command_line import add_config_options
from mmreid_gcl.config.load import cache_images
from mmreid_gcl.datasets import SampleIndex
from mmreid_gcl.registry import DATASETS


def rates(cfg: Config, workers: int, passes: int, batch_size: int) -> list[float]:
    """Images a second of each pass through the data set.

    The first counts from its first batch on, when the workers have started, and
    what they have loaded ahead by then costs it nothing. Later ones, with the same
    workers, count from their beginning.
    """
    dataset = DATASETS.build(cfg.train_dataloader.dataset)
    draws: list[SampleIndex] = []
    loader = DataLoader(
        dataset,
        batch_size,
        sampler=draws,
        num_workers=workers,
        persistent_workers=workers > 0,
        collate_fn=default_collate,
    )
    out = []
    for number in range(passes):
        order = np.random.default_rng(number).permutation(len(dataset))
        draws[:] = [SampleIndex(int(i), 0, int(i) + number) for i in order]
        start, count = time.perf_counter(), 0
        batches = iter(loader)
        if number == 0:
            next(batches)
            start = time.perf_counter()
        for batch in batches:
            count += len(batch['inputs'])
        out.append(count / (time.perf_counter() - start))
    return out


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('config')
    parser.add_argument('--workers', type=int, nargs='+', default=[0, 2])
    parser.add_argument('--passes', type=int, default=4)
    parser.add_argument('--limit-gb', type=float, default=4.0)
    add_config_options(parser)
    args = parser.parse_args()

    def read() -> Config:
        cfg = load_config(args.config, args.cfg_options)
        init_default_scope(cfg.get('default_scope', 'mmreid_gcl'))
        return cfg

    print('| workers | cache | first pass | later passes, images/s |')
    print('|---:|---|---:|---:|', flush=True)
    for workers in args.workers:
        for cached in (False, True):
            cfg = read()
            size = cfg.train_dataloader.batch_size
            if cached:
                # a store of its own for each line
                cfg.image_cache = dict(limit_gb=args.limit_gb + 0.001 * workers)
                cache_images(cfg)
            first, *later = rates(cfg, workers, args.passes, size)
            print(
                f'| {workers} | {"yes" if cached else "no"} | {first:.0f} '
                f'| {statistics.median(later):.0f} |',
                flush=True,
            )


if __name__ == '__main__':
    main()
