# SPDX-License-Identifier: Apache-2.0
import random

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmreid_gcl.datasets.seeding import derive_seed, derive_seeds, seeded

SEED = st.integers(0, 2**63 - 1)


def draw():
    return (
        random.random(),
        random.randrange(10**9),
        np.random.rand(3).tolist(),
        torch.rand(3).tolist(),
        torch.randperm(9).tolist(),
    )


@settings(deadline=None)
@given(st.lists(st.integers(0, 2**40), min_size=1, max_size=4))
def test_range_and_repeatability(keys):
    seed = derive_seed(*keys)
    assert type(seed) is int and 0 <= seed < 2**63
    assert derive_seed(*keys) == seed


def test_neighbouring_keys_give_unlike_seeds():
    seeds = [derive_seed(s, e, p) for s in range(8) for e in range(8) for p in range(8)]
    assert len(set(seeds)) == len(seeds)
    assert derive_seed(1, 2) != derive_seed(2, 1)
    # all bits vary: about half of the seeds have each of them
    for bit in range(63):
        share = sum(seed >> bit & 1 for seed in seeds) / len(seeds)
        assert 0.35 < share < 0.65, bit


def test_stays_what_it_is():
    """A run resumed with another version must draw what it drew before."""
    state = np.random.SeedSequence([3, 1, 4]).generate_state(2, np.uint32)
    whole = int(state[0]) + (int(state[1]) << 32)
    assert derive_seed(3, 1, 4) == whole >> 1


@settings(deadline=None)
@given(SEED, st.integers(0, 100), st.integers(0, 50))
def test_many_seeds(seed, epoch, count):
    seeds = derive_seeds(count, seed, epoch)
    assert seeds.shape == (count,) and seeds.dtype == np.int64
    assert len(set(seeds.tolist())) == count and (seeds >= 0).all()
    # the first ones do not depend on how many are asked for
    assert np.array_equal(derive_seeds(count + 3, seed, epoch)[:count], seeds)


def test_epochs_share_no_seed():
    a, b = derive_seeds(5000, 1, 0), derive_seeds(5000, 1, 1)
    assert not set(a.tolist()) & set(b.tolist())


@settings(deadline=None)
@given(SEED)
def test_block_is_a_function_of_the_seed(seed):
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    with seeded(seed):
        first = draw()
    random.seed(2), np.random.seed(2), torch.manual_seed(2)
    with seeded(seed):
        assert draw() == first
    with seeded(seed ^ 1):
        assert draw() != first


def test_states_come_back():
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    np.random.randn()  # leaves a second normal in store
    expected = draw(), np.random.randn()
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    np.random.randn()
    with seeded(99):
        draw()
        np.random.randn()
    assert (draw(), np.random.randn()) == expected


def test_states_come_back_after_an_error():
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    expected = draw()
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    with pytest.raises(OSError, match='gone'), seeded(3):
        draw()
        raise OSError('gone')
    assert draw() == expected


def test_nested():
    with seeded(4):
        expected = draw(), draw()
    with seeded(4):
        first = draw()
        with seeded(5):
            draw()
        assert (first, draw()) == expected
