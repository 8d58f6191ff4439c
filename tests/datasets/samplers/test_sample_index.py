# SPDX-License-Identifier: Apache-2.0
import copy
import pickle

import pytest

from mmreid_gcl.datasets import SampleIndex


def test_it_is_an_int():
    index = SampleIndex(3, label=7, seed=11)
    assert index == 3 and isinstance(index, int) and hash(index) == hash(3)
    assert 'abcd'[index] == 'd' and index + 1 == 4
    assert (index.label, index.seed) == (7, 11)
    assert repr(index) == 'SampleIndex(3, label=7, seed=11)'


def test_nothing_but_the_index():
    index = SampleIndex(3)
    assert index.label is None and index.seed is None


@pytest.mark.parametrize('protocol', range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_pickle(protocol):
    index = SampleIndex(3, label=-1, seed=2**63 - 1)
    again = pickle.loads(pickle.dumps(index, protocol))
    assert type(again) is SampleIndex
    assert (int(again), again.label, again.seed) == (3, -1, 2**63 - 1)


def test_copies():
    index = SampleIndex(3, label=0, seed=0)
    for again in (copy.copy(index), copy.deepcopy(index)):
        assert (int(again), again.label, again.seed) == (3, 0, 0)
