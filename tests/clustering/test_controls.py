# SPDX-License-Identifier: Apache-2.0
import numpy as np

from mmreid_gcl.clustering import FrozenLabels, ShuffledLabels
from mmreid_gcl.registry import TASK_UTILS

_NAME = 'ParityOfATest'


class Parity:
    """The label is given in the only channel; 9 is an outlier."""

    def __call__(self, features):
        labels = features[:, 0].astype(np.int64)
        return np.where(labels == 9, -1, labels)


def build(control, **arguments):
    TASK_UTILS.register_module(name=_NAME, module=Parity, force=True)
    try:
        return control(dict(type=_NAME), **arguments)
    finally:
        TASK_UTILS.module_dict.pop(_NAME)


FIRST = np.array([[0.0], [0], [1], [1], [2], [9], [2], [0]])
SECOND = np.array([[1.0], [0], [1], [0], [1], [0], [9], [9]])


def test_shuffled_labels_keep_their_sizes_and_lose_their_places():
    control = build(ShuffledLabels)
    dealt = control(FIRST.repeat(20, axis=0))
    truth = Parity()(FIRST.repeat(20, axis=0))
    assert sorted(dealt) == sorted(truth)
    assert (dealt == truth).mean() < 0.6


def test_the_deal_is_that_of_seed_and_labels():
    """A resumed training has a new object, and asks it in the middle."""
    a, b = build(ShuffledLabels), build(ShuffledLabels)
    a(FIRST)
    np.testing.assert_array_equal(a(SECOND), b(SECOND))
    many = FIRST.repeat(5, axis=0)
    assert not np.array_equal(build(ShuffledLabels, seed=1)(many), a(many))


def test_frozen_labels_are_those_of_the_first_call():
    control = build(FrozenLabels)
    first = control(FIRST)
    first[0] = 7  # what it keeps is its own
    np.testing.assert_array_equal(control(SECOND), Parity()(FIRST))


def test_frozen_labels_of_a_resumed_training():
    control = build(FrozenLabels)
    control.resume(Parity()(FIRST))
    np.testing.assert_array_equal(control(SECOND), Parity()(FIRST))


def test_shuffled_labels_hand_on_what_the_clusterer_keeps():
    shuffled = ShuffledLabels(dict(type='SelfPacedClusterer'))
    shuffled.resume(np.zeros(3, int), dict(threshold=0.7))
    assert shuffled.state() == shuffled.clusterer.state() == dict(threshold=0.7)
