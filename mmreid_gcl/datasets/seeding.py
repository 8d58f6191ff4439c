# SPDX-License-Identifier: Apache-2.0
"""Seeds that depend on (seed, epoch, position in the epoch) alone."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


def derive_seed(*keys: int) -> int:
    """One well-mixed seed in [0, 2**63) of several non-negative integers in order."""
    state = np.random.SeedSequence(keys).generate_state(1, np.uint64)[0]
    return int(state >> np.uint64(1))


def derive_seeds(count: int, *keys: int) -> np.ndarray:
    """``count`` independent seeds for the same keys; see :func:`derive_seed`."""
    state = np.random.SeedSequence(keys).generate_state(count, np.uint64)
    return (state >> np.uint64(1)).astype(np.int64)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Run a block under ``seed`` in ``random``, numpy and torch (CPU).

    The states from before come back afterwards, so that transforms that run
    in the main process (``num_workers=0``) leave the model's stream alone.
    """
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.default_generator.manual_seed(seed)
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])
