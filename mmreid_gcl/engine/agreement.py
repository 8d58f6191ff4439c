# SPDX-License-Identifier: Apache-2.0
"""What all processes must know of each other before they go on."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch
from mmengine import dist

T = TypeVar('T')


def highest(value: int) -> int:
    """The largest of the processes' values; with one process, its own."""
    if not dist.is_distributed():
        return value
    shared = torch.tensor([value])
    dist.all_reduce(shared, op='max')
    return int(shared)


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
    return result


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
