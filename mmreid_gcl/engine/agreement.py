# SPDX-License-Identifier: Apache-2.0
"""Votes and agreements among the processes of a training."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, cast

import torch
from mmengine import dist
from torch import distributed as torch_dist

T = TypeVar('T')


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
        """Give this process's value.

        Args:
            value (int): At most one until :meth:`result` is called.
        """
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

    Args:
        work (Callable): Called without arguments. It must not wait for other
            ranks, or one that failed would leave them waiting.

    Returns:
        What ``work`` returned on this rank.

    Raises:
        Exception: What ``work`` raised here.
        RuntimeError: With the message of the rank on which it failed.
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
