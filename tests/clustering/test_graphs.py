# SPDX-License-Identifier: Apache-2.0
import os
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmreid_gcl.clustering import NeighbourGraphs, OrderedGraphs
from mmreid_gcl.clustering.graphs import mutual, partition
from mmreid_gcl.registry import TASK_UTILS


def partition_by_hand(order, size):
    """Row i: the nodes of i's graph; graphs are pieces of the order."""
    size = min(size, len(order))
    rows = {}
    for start in range(0, len(order), size):
        graph = list(order[start : start + size])
        for i in graph:
            rows[i] = graph + [-1] * (size - len(graph))
    return [rows[i] for i in range(len(order))]


def nearest_by_hand(features, size):
    out = []
    for i, own in enumerate(features):
        distances = [
            (j != i, sum((a - b) ** 2 for a, b in zip(own, other)), j)
            for j, other in enumerate(features)
        ]
        out.append([j for _, _, j in sorted(distances)[:size]])
    return out


def mutual_by_hand(nearest):
    return [
        [j if i in nearest[j] else -1 for j in row] for i, row in enumerate(nearest)
    ]


def make_records(count, seed=0, **kwargs):
    """Market's names begin with the identity; moments are shared by some."""
    rng = np.random.default_rng(seed)
    camids = rng.integers(0, 3, count)
    sequences = rng.integers(1, 3, count)
    frames = rng.integers(0, 4, count)
    paths = [
        f'{pid:04d}_c{c + 1}s{s}_{f:06d}_{i:02d}.jpg'
        for i, (pid, c, s, f) in enumerate(
            zip(rng.integers(0, 5, count), camids, sequences, frames)
        )
    ]
    records = dict(
        img_path=np.array(paths), camid=camids, sequence=sequences, frame=frames
    )
    return records | kwargs


def graphs_of(rows):
    """The set of graphs, in no order."""
    return {frozenset(j for j in row if j >= 0) for row in rows.tolist()}


@settings(deadline=None)
@given(count=st.integers(1, 60), size=st.integers(1, 20), seed=st.integers(0, 10_000))
def test_partition(count, size, seed):
    order = np.random.default_rng(seed).permutation(count)
    rows = partition(order, size)
    assert rows.dtype == np.int64
    assert rows.tolist() == partition_by_hand(order.tolist(), size)


def test_last_graph_is_smaller():
    rows = partition(np.arange(35), 16)
    assert rows[34].tolist() == [32, 33, 34] + [-1] * 13
    assert rows[:16].tolist() == [list(range(16))] * 16


def test_filename_order_is_by_name_not_by_folder():
    paths = np.array(['z/0001.jpg', 'a/0003.jpg', 'm/0002.jpg', 'a/0001.jpg'])
    builder = OrderedGraphs('filename', size=2)
    rows = builder(np.zeros((4, 1)), dict(img_path=paths))
    assert graphs_of(rows) == {frozenset({0, 3}), frozenset({1, 2})}


def test_filename_order_by_hand():
    records = make_records(41)
    rows = OrderedGraphs('filename', size=8)(np.zeros((41, 2)), records)
    paths = records['img_path'].tolist()
    order = sorted(range(41), key=lambda i: os.path.basename(paths[i]))
    assert rows.tolist() == partition_by_hand(order, 8)


def test_filename_order_warns_once(log_lines):
    builder = OrderedGraphs('filename')
    for epoch in range(3):
        builder(np.zeros((20, 2)), make_records(20), epoch)
    ((level, line),) = log_lines
    assert level == 'WARNING'
    assert "order='filename'" in line and 'leaks labels' in line
    assert "order='camera_time'" in line


@pytest.mark.parametrize('order', ['camera_time', 'random'])
def test_other_orders_do_not_warn(log_lines, order):
    OrderedGraphs(order)(np.zeros((20, 2)), make_records(20))
    assert not log_lines


def test_camera_time_without_time_warns(log_lines):
    records = make_records(20, frame=np.full(20, -1))
    OrderedGraphs('camera_time')(np.zeros((20, 2)), records)
    ((level, line),) = log_lines
    assert level == 'WARNING' and 'same frame number' in line


@pytest.mark.parametrize('seed', [0, 1, 2])
def test_camera_time_order(seed):
    """Graph after graph, cameras, sequences and frames never go back."""
    records = make_records(50, seed)
    rows = OrderedGraphs('camera_time', size=4, seed=seed)(np.zeros((50, 2)), records)
    moment = [
        tuple(int(records[name][i]) for name in ('camid', 'sequence', 'frame'))
        for i in range(50)
    ]
    spans = sorted(
        (sorted(moment[i] for i in graph) for graph in graphs_of(rows)),
        key=lambda span: (span[0], span[-1]),
    )
    assert sorted(m for span in spans for m in span) == sorted(moment)
    for before, after in pairwise(spans):
        assert before[-1] <= after[0]
    assert sum(len(graph) == 4 for graph in graphs_of(rows)) == 12


def test_camera_time_sorts_numbers():
    """Frame 10 is after frame 9, camera 10 after camera 9."""
    records = dict(
        camid=np.array([10, 9, 10, 9]),
        sequence=np.zeros(4, int),
        frame=np.array([9, 10, 10, 9]),
    )
    rows = OrderedGraphs('camera_time', size=4)(np.zeros((4, 1)), records)
    assert rows[0].tolist() == [3, 1, 0, 2]


@pytest.mark.parametrize('order', ['camera_time', 'random'])
@pytest.mark.parametrize('seed', range(3))
def test_names_play_no_part(order, seed):
    records = make_records(40, seed)
    builder = OrderedGraphs(order, size=8, seed=seed)
    expected = builder(np.zeros((40, 2)), records)
    renamed = records | dict(
        img_path=np.random.default_rng(seed).permutation(records['img_path'])
    )
    assert np.array_equal(builder(np.zeros((40, 2)), renamed), expected)
    nameless = {k: v for k, v in records.items() if k != 'img_path'}
    assert np.array_equal(builder(np.zeros((40, 2)), nameless), expected)


def test_camera_time_ties_are_drawn():
    """One moment for all: the order is neither that of the data set nor fixed."""
    records = {name: np.zeros(64, int) for name in ('camid', 'sequence', 'frame')}
    seen = set()
    for seed in range(4):
        builder = OrderedGraphs('camera_time', size=8, seed=seed)
        rows = builder(np.zeros((64, 1)), records)
        assert np.array_equal(rows, builder(np.zeros((64, 1)), records, epoch=3))
        assert rows.tolist() != partition_by_hand(range(64), 8)
        seen.add(frozenset(graphs_of(rows)))
    assert len(seen) == 4


def test_random_is_new_every_epoch_and_the_same_again():
    def build(seed, epoch):
        return OrderedGraphs('random', 8, seed)(np.zeros((40, 2)), {}, epoch)

    rows = {(s, e): build(s, e) for s in (0, 1) for e in (0, 1, 2)}
    assert len({frozenset(graphs_of(r)) for r in rows.values()}) == 6
    for key, expected in rows.items():
        assert np.array_equal(build(*key), expected)
        graphs = graphs_of(expected)
        assert sorted(i for graph in graphs for i in graph) == list(range(40))
        assert {len(graph) for graph in graphs} == {8}


@pytest.mark.parametrize('size', [1, 4, 16])
@pytest.mark.parametrize('dtype', [np.float32, np.float64])
def test_neighbour_graphs(size, dtype):
    features = np.random.default_rng(0).normal(size=(30, 5)).astype(dtype)
    expected = nearest_by_hand(features.tolist(), size)
    rows = NeighbourGraphs(size)(features, {})
    assert rows.tolist() == expected and rows.dtype == np.int64
    rows = NeighbourGraphs(size, mutual=True)(features, {})
    assert rows.tolist() == mutual_by_hand(expected)
    assert any(-1 in row for row in rows.tolist()) == (size > 1)


@settings(deadline=None, max_examples=50)
@given(count=st.integers(1, 25), size=st.integers(1, 25), seed=st.integers(0, 10_000))
def test_mutual(count, size, seed):
    features = np.random.default_rng(seed).normal(size=(count, 3))
    nearest = nearest_by_hand(features.tolist(), size)
    rows = mutual(np.array(nearest))
    assert rows.tolist() == mutual_by_hand(nearest)
    for i, row in enumerate(rows.tolist()):
        assert i in row
        assert all(i in rows[j] for j in row if j >= 0)


def test_mutual_keeps_an_image_that_its_copies_hide():
    """Of many copies an image need not be among its own nearest."""
    rows = mutual(np.array([[1, 2], [1, 2], [2, 1]]))
    assert 0 in rows[0].tolist()
    assert rows[1:].tolist() == [[1, 2], [2, 1]]
    # the furthest gives way to it
    assert mutual(np.array([[1, 2], [0, 1], [0, 2]]))[0].tolist() == [1, 0]


def test_fewer_images_than_nodes():
    features = np.random.default_rng(0).normal(size=(3, 4))
    assert NeighbourGraphs(16)(features, {}).shape == (3, 3)
    assert OrderedGraphs('random', 16)(features, {}).shape == (3, 3)
    assert OrderedGraphs('random', 16)(features[:1], {}).tolist() == [[0]]


def test_options_of_the_search():
    features = np.random.default_rng(0).normal(size=(20, 4))
    rows = NeighbourGraphs(5, knn=dict(backend='torch'))(features, {})
    assert rows.tolist() == nearest_by_hand(features.tolist(), 5)
    with pytest.raises(ValueError, match='no-such-backend'):
        NeighbourGraphs(5, knn=dict(backend='no-such-backend'))(features, {})


def test_registered():
    graphs = TASK_UTILS.build(dict(type='OrderedGraphs', order='random', size=4))
    assert (graphs.order, graphs.size, graphs.seed) == ('random', 4, 0)
    assert TASK_UTILS.build(dict(type='NeighbourGraphs')).size == 16
    assert OrderedGraphs('filename').size == 16


def random_graphs(size):
    return OrderedGraphs('random', size)


@pytest.mark.parametrize('build', [NeighbourGraphs, random_graphs])
def test_size_out_of_range(build):
    with pytest.raises(ValueError, match=r'size \(B, nodes in a graph\).*got 0'):
        build(0)


def test_unknown_order():
    with pytest.raises(ValueError, match=r"'filename', 'camera_time', .*got 'time'"):
        OrderedGraphs('time')
