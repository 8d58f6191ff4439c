# SPDX-License-Identifier: Apache-2.0
"""Threads for compiled kernels that release the GIL.

Threads of Python run the kernels, each on its own range of rows. Compared with
``numba.prange`` this needs no threading layer (whose OpenMP flavour dies after
a fork, and whose default flavour is not safe to enter from two threads), lets
every range return arrays of its own size, and can report progress.
"""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from mmengine.logging import print_log
from threadpoolctl import threadpool_limits


def num_threads() -> int:
    """Number of cores this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS and Windows
        return os.cpu_count() or 1


@contextmanager
def all_cores() -> Iterator[None]:
    """Let BLAS and OpenMP libraries use every core inside the block.

    ``torchrun`` and mmengine set ``OMP_NUM_THREADS=1`` for training. Clustering
    runs on one rank while the others wait, so that rank may use everything.
    """
    with threadpool_limits(limits=num_threads()):
        yield


class Progress:
    """Log lines with the time left, for steps that take long.

    Every ``interval`` seconds at most: work that ends before logs nothing.
    """

    def __init__(self, name: str, total: float, interval: float = 20.0):
        self.name, self.total, self.interval = name, total, interval
        self.done = 0.0
        self._begin = self._last = time.perf_counter()

    def update(self, amount: float) -> None:
        """Add finished work units; log when it is time to."""
        self.done += amount
        now = time.perf_counter()
        if now - self._last < self.interval or self.done <= 0:
            return
        self._last = now
        spent = now - self._begin
        left = spent * (self.total - self.done) / self.done
        print_log(
            f'{self.name}: {100 * self.done / self.total:.0f} % after '
            f'{spent:.0f} s, about {left:.0f} s left',
            logger='current',
        )


def map_with_bar(
    work: Callable, items: Sequence, workers: int, **style
) -> Iterator[tuple]:
    """Items and what ``work`` makes of them, in their order, by threads with a bar.

    ``style`` are settings of the bar of tqdm.
    """
    from tqdm import tqdm

    with (
        ThreadPoolExecutor(max(1, workers)) as pool,
        tqdm(total=len(items), mininterval=1, **style) as bar,
    ):
        for begin in range(0, len(items), 4096):  # so that few results wait
            chunk = items[begin : begin + 4096]
            for item, found in zip(chunk, pool.map(work, chunk)):
                yield item, found
                bar.update()


def map_row_ranges(
    kernel: Callable, num_rows: int, name: str, chunk: int | None = None
) -> list:
    """What ``kernel(start, stop)`` returns for ranges of all rows, in their order.

    The kernel must release the GIL. By default every core gets some sixteen ranges of
    at most 4096 rows; ``name`` is for the progress lines.
    """
    threads = num_threads()
    if chunk is None:
        chunk = min(4096, max(64, -(-num_rows // (16 * threads))))
    starts = range(0, num_rows, chunk)
    progress = Progress(name, num_rows)
    results = []
    with ThreadPoolExecutor(threads) as pool:
        futures = [
            pool.submit(kernel, start, min(start + chunk, num_rows)) for start in starts
        ]
        for future in futures:
            results.append(future.result())
            progress.update(chunk)
    return results
