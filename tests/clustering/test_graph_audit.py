# SPDX-License-Identifier: Apache-2.0
from itertools import combinations
from math import comb

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmreid_gcl.clustering.graph_audit import audit_graphs, hit_chance, mates_of
from mmreid_gcl.clustering.graphs import partition

#: Six images: a a a b b c, cameras 0 0 1 0 1 0.
PIDS = np.array([7, 7, 7, 3, 3, 9])
CAMS = np.array([0, 0, 1, 0, 1, 0])


def test_shares_by_hand():
    # graphs {0, 1, 3} and {2, 4, 5}
    graphs = partition(np.array([0, 1, 3, 2, 4, 5]), 3)
    audit = audit_graphs(graphs, PIDS, CAMS)
    assert audit.nodes == 2
    # of 12 ordered pairs, (0, 1) and (1, 0) are one person
    assert audit.same == pytest.approx(2 / 12)
    # of all 30 ordered pairs, 6 of person 7 and 2 of person 3
    assert audit.same_chance == pytest.approx(8 / 30)
    assert audit.mate == pytest.approx(2 / 6)
    assert audit.far_mate == 0  # 0 and 1 are from one camera
    # two draws of five: 1 - C(5 - m, 2) / C(5, 2) for m = 2, 2, 2, 1, 1, 0
    assert audit.mate_chance == pytest.approx((3 * (1 - 3 / 10) + 2 * 4 / 10) / 6)
    # of another camera: m = 1, 1, 2, 1, 1, 0
    assert audit.far_mate_chance == pytest.approx((4 * 4 / 10 + 7 / 10) / 6)


def test_a_mate_of_another_camera():
    graphs = partition(np.array([1, 2, 3, 4, 0, 5]), 2)  # {1, 2}, {3, 4}, {0, 5}
    audit = audit_graphs(graphs, PIDS, CAMS)
    assert audit.same == audit.mate == audit.far_mate == pytest.approx(4 / 6)


def test_rows_of_different_sizes_and_empty_places():
    graphs = np.array([[0, 1, 2], [-1, 1, -1], [2, -1, 0]])
    audit = audit_graphs(graphs, np.array([1, 1, 2]), np.array([0, 1, 0]))
    assert audit.nodes == 1  # 2, 0 and 1 others
    assert audit.same == pytest.approx(1 / 3)
    assert audit.mate == audit.far_mate == pytest.approx(1 / 3)
    # m = 1, 1, 0 of 2 others; draws 2, 0, 1
    assert audit.mate_chance == pytest.approx((1 + 0 + 0) / 3)


def test_images_without_identity_are_left_out():
    pids = np.array([-1, 5, 5, -1])
    graphs = partition(np.arange(4), 4)
    audit = audit_graphs(graphs, pids, np.zeros(4, int))
    assert audit.nodes == 1
    assert audit.same == audit.same_chance == audit.mate == audit.mate_chance == 1
    assert audit.far_mate == audit.far_mate_chance == 0
    with pytest.raises(ValueError, match='no image has an identity'):
        audit_graphs(graphs, np.full(4, -1), np.zeros(4, int))


def test_images_alone_have_no_share():
    audit = audit_graphs(np.arange(3)[:, None], np.zeros(3, int), np.zeros(3, int))
    assert np.isnan(audit.same) and audit.same_chance == 1
    assert audit.mate == audit.mate_chance == audit.nodes == 0


def test_shapes_are_checked():
    with pytest.raises(ValueError, match=r'\(6, 2\).*\(5,\)'):
        audit_graphs(np.zeros((6, 2), int), PIDS[:5], CAMS[:5])


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2)), min_size=2, max_size=7),
    st.integers(1, 7),
)
def test_chance_is_the_mean_over_all_graphs(people, size):
    """The chance of a first image's graph, by trying all graphs."""
    pids, camids = np.array(people).T
    size = min(size, len(pids))
    mates, far = mates_of(pids, camids)
    for n in range(len(pids)):
        others = [m for m in range(len(pids)) if m != n]
        assert mates[n] == sum(pids[m] == pids[n] for m in others)
        assert far[n] == sum(
            pids[m] == pids[n] and camids[m] != camids[n] for m in others
        )
        drawn = list(combinations(others, size - 1))
        hits = sum(any(pids[m] == pids[n] for m in graph) for graph in drawn)
        chance = hit_chance(mates[n : n + 1], len(others), np.array([size - 1]))
        assert chance[0] == pytest.approx(hits / len(drawn))


def test_hit_chance_is_hypergeometric():
    wanted, draws = np.array([0, 1, 5, 40]), np.array([15, 15, 0, 15])
    expected = [0, 15 / 100, 0, 1 - comb(60, 15) / comb(100, 15)]
    np.testing.assert_allclose(hit_chance(wanted, 100, draws), expected)
    assert hit_chance(np.array([3]), 3, np.array([1]))[0] == 1
