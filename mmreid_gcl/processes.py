# SPDX-License-Identifier: Apache-2.0
"""What processes agree on, what one does for all, and the model inside a wrapper."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, TypeVar, cast

import torch
from mmengine import dist
from mmengine.model import is_model_wrapper
from torch import Tensor, nn
from torch import distributed as torch_dist

T = TypeVar('T')

#: Bytes of rows that one process sends in one collective call.
_BLOCK_BYTES = 2**25


def unwrapped(model: nn.Module) -> Any:
    """The model inside ``MMDistributedDataParallel`` and its like, or itself."""
    return model.module if is_model_wrapper(model) else model


def highest(value: int) -> int:
    """The largest of the processes' values; with one process, its own."""
    if not dist.is_distributed():
        return value
    shared = torch.tensor([value])
    dist.all_reduce(shared, op='max')
    return int(shared)


class Vote:
    """The largest of the processes' values, exchanged while they go on working.

    :meth:`cast` starts the exchange and :meth:`result` waits for it; what is
    done in between hides it. The values travel over gloo between processors, so
    no device is waited for. To be made by all processes together.
    """

    def __init__(self) -> None:
        self._group = None
        self._value = torch.zeros(1, dtype=torch.int64)
        self._pending = None
        if dist.is_distributed() and torch_dist.is_gloo_available():
            self._group = torch_dist.new_group(backend='gloo')

    def cast(self, value: int) -> None:
        """Give this process's value, at most one until :meth:`result` is called."""
        self._value.fill_(value)
        if self._group is not None:
            self._pending = torch_dist.all_reduce(
                self._value, torch_dist.ReduceOp.MAX, self._group, async_op=True
            )
        elif dist.is_distributed():  # a torch without gloo
            dist.all_reduce(self._value, op='max')

    def result(self) -> int:
        """The largest value that was given; the same in all processes."""
        if self._pending is not None:
            self._pending.wait()
            self._pending = None
        return int(self._value)


def together(work: Callable[[], T]) -> T:
    """Run ``work`` on every rank; if it fails on one, fail on all.

    ``work`` must not wait for other ranks, or one that failed would leave them
    waiting. The error of a rank is its own there, elsewhere a ``RuntimeError``
    with its message.
    """
    result, error = None, None
    try:
        result = work()
    except Exception as raised:
        error = raised
    share_failure(error)
    return cast('T', result)  # else it has raised


def share_failure(error: Exception | None) -> None:
    """Raise on all ranks if one brings an error; see :func:`together`."""
    if not dist.is_distributed():
        if error is not None:
            raise error
        return
    messages = dist.all_gather_object(error and f'{type(error).__name__}: {error}')
    if error is not None:
        raise error
    for rank, message in enumerate(messages):
        if message is not None:
            raise RuntimeError(f'Rank {rank} failed and all ranks stop: {message}')


#: On rank 0, whether the others wait in :func:`on_rank_zero` and can be asked to help.
_others_wait = False


def on_rank_zero(work: Callable[[], T]) -> T | None:
    """Run ``work`` on rank 0 while the others, which get None, wait.

    They help where it calls :func:`on_all_ranks`. If it fails, all fail as in
    :func:`together`: no rank waits for one that is gone.
    """
    if not dist.is_distributed():
        return work()
    if not dist.is_main_process():
        _help_rank_zero()
        return None
    global _others_wait
    result, error = None, None
    _others_wait = True
    try:
        result = work()
    except Exception as raised:
        error = raised
    finally:
        _others_wait = False
    dist.broadcast_object_list([error and f'{type(error).__name__}: {error}'])
    if error is not None:
        raise error
    return result


def _help_rank_zero() -> None:
    while True:
        message: list[Any] = [None]
        dist.broadcast_object_list(message)
        if not isinstance(message[0], tuple):
            break
        function, arguments = message[0]
        # it has failed on rank 0 too, whose work says whether that ends it
        with suppress(Exception):
            function(*arguments)
    if message[0] is not None:
        raise RuntimeError(f'Rank 0 failed and all ranks stop: {message[0]}')


def others_help() -> bool:
    """Whether this is rank 0 and other ranks wait in :func:`on_rank_zero`."""
    return _others_wait and dist.get_world_size() > 1


def on_all_ranks(function: Callable[..., T], *shared: Any, own: Sequence = ()) -> T:
    """Call a function on all ranks, from within the work of :func:`on_rank_zero`.

    Args:
        function (Callable): Of a module, called with ``shared``. It exchanges what it
            needs, and where it can fail, fails on all ranks (:func:`together`).
        *shared (Any): Arguments, sent to the others.
        own (Sequence): More arguments, for rank 0 alone. Defaults to none.

    Returns:
        T: What it gives on rank 0.
    """
    if others_help():
        dist.broadcast_object_list([(function, shared)])
    return function(*shared, *own)


def shard(count: int, rank: int, world_size: int) -> range:
    """What one rank does of ``count``: contiguous, disjoint, together all.

    As many on all ranks but for the last ones.
    """
    size = -(-count // world_size)
    return range(min(rank * size, count), min((rank + 1) * size, count))


def shared_seed(seed: int) -> int:
    """Rank 0's seed on every rank; mmengine's ``diff_rank_seed`` adds the rank."""
    shared = [seed]
    dist.broadcast_object_list(shared, src=0)
    return shared[0]


def spread_rows(rows: Tensor) -> None:
    """Rank 0's rows (N, ...) to the others, in place, some megabytes at a time."""
    step = max(1, _BLOCK_BYTES // max(1, rows[:1].nbytes))
    for start in range(0, len(rows), step):
        dist.broadcast(rows[start : start + step])


def gather_rows(
    rows: Tensor, counts: Sequence[int], out: Tensor | None = None
) -> Tensor | None:
    """Rows of all processes one behind the other, on rank 0; None on the others.

    They travel as tensors, some megabytes at a time: no process but rank 0 ever
    holds all of them.

    Args:
        rows (Tensor): (n, ...), of this process; n may be 0.
        counts (Sequence[int]): n of every process.
        out (Tensor, optional): (sum of counts, ...) on rank 0, where the result goes;
            may begin with ``rows``. Defaults to new memory.
    """
    rank, shape = dist.get_rank(), rows.shape[1:]
    if len(counts) == 1:
        return rows if out is None else out
    if rank == 0 and out is None:
        out = rows.new_empty((sum(counts), *shape))
        out[: counts[0]] = rows
    step = max(1, _BLOCK_BYTES // max(1, rows[:0].new_empty(shape).nbytes))
    place = counts[0]
    for source, count in enumerate(counts[1:], 1):
        for start in range(0, count, step):
            size = min(step, count - start)
            block = rows.new_empty((size, *shape))
            if rank == source:
                block.copy_(rows[start : start + size])
            dist.broadcast(block, src=source)
            if out is not None and rank == 0:
                out[place + start : place + start + size] = block
        place += count
    return out if rank == 0 else None
