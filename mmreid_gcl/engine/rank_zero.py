# SPDX-License-Identifier: Apache-2.0
"""Work that rank 0 does for all processes."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from mmengine import dist

T = TypeVar('T')


def on_rank_zero(work: Callable[[], T]) -> T | None:
    """Run ``work`` on rank 0 while the others wait; fail everywhere if it fails.

    Args:
        work (Callable): Called without arguments, on rank 0 only.

    Returns:
        What ``work`` returned on rank 0, None on the others.

    Raises:
        Exception: On rank 0 what ``work`` raised.
        RuntimeError: On the other ranks, with rank 0's message, so that no
            rank waits for one that is gone.
    """
    result, error = None, None
    if dist.is_main_process():
        try:
            result = work()
        except Exception as raised:
            error = raised
    message = [error and f'{type(error).__name__}: {error}']
    dist.broadcast_object_list(message, src=0)
    if error is not None:
        raise error
    if message[0] is not None:
        raise RuntimeError(f'Rank 0 failed and all ranks stop: {message[0]}')
    return result


def shared_seed(seed: int) -> int:
    """Rank 0's seed on every rank.

    What is drawn must be the same everywhere, also with mmengine's
    ``diff_rank_seed``, which adds the rank to each one's seed.

    Args:
        seed (int): This rank's seed.

    Returns:
        int: That of rank 0.
    """
    shared = [seed]
    dist.broadcast_object_list(shared, src=0)
    return shared[0]
