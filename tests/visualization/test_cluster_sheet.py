# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
from matplotlib.colors import to_hex

from mmreid_gcl.visualization import cluster_sheet, describe_clusters
from mmreid_gcl.visualization.cluster_sheet import spread

from .fake import by_gid, image, texts

#          0  1  2  3  4  5  6   7  8  9
LABELS = [0, 0, 0, 5, 5, 5, 5, -1, 2, 2]
PIDS = [8, 8, 8, 3, 4, 4, -1, 8, 1, 2]
CAMS = [1, 1, 2, 1, 2, 3, 4, 1, 6, 6]


class Counting:
    """Images that know which of them were asked for."""

    def __init__(self, count):
        self.count, self.asked = count, []

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        assert type(index) is int
        self.asked.append(index)
        return image(10 * index + 10)


def test_least_pure_first_then_larger():
    got = describe_clusters(LABELS, PIDS)
    # 5: two of four are 4; 2: one of two is 1; 0: all are 8
    assert [(c.label, c.purity, c.pid) for c in got] == [
        (5, 0.5, 4),
        (2, 0.5, 1),
        (0, 1.0, 8),
    ]
    assert got[0].members.tolist() == [4, 5, 3, 6]


def test_largest_first_without_identities():
    for pids in (None, [-1] * 10):
        got = describe_clusters(LABELS, pids)
        assert [c.label for c in got] == [5, 0, 2]
        assert all(c.purity is None and c.pid is None for c in got)
    assert got[0].members.tolist() == [3, 4, 5, 6]


def test_clusters_of_unknown_people_come_after_known_ones():
    got = describe_clusters([0, 0, 0, 1, 1], [-1, -1, -1, 7, 7])
    assert [c.label for c in got] == [1, 0]


@pytest.mark.parametrize('count, places', [(3, 5), (5, 5), (9, 4), (7, 2), (100, 12)])
def test_spread_is_even(count, places):
    got = spread(count, places)
    assert len(got) == min(count, places) == len(set(got.tolist()))
    assert got[0] == 0 and got[-1] == count - 1
    gaps = np.diff(got)
    assert gaps.max() - gaps.min() <= 1


def test_sheet_shows_the_right_images_and_frames():
    images = Counting(10)
    figure = cluster_sheet(images, LABELS, PIDS, CAMS, num_clusters=2, title='Sheet')
    assert sorted(images.asked) == [3, 4, 5, 6, 8, 9]  # each is loaded once
    shown = [int(s.get_array()[1, 0, 0]) for s in figure.axes[0].images]
    assert shown == [50, 60, 40, 70, 90, 100]
    frames = by_gid(figure, 'frame-')
    color = {k: to_hex(f.get_edgecolor()) for k, f in frames.items()}
    assert color['frame-5-4'] == color['frame-5-5'] == color['frame-2-8']
    assert color['frame-5-3'] == color['frame-2-9']
    assert len({color['frame-5-4'], color['frame-5-3'], color['frame-5-6']}) == 3
    written = texts(figure)
    for expected in (
        'Sheet',
        '2 of 3 clusters, least pure first; 1 of 10 images are outliers; 2 clusters '
        'with 70% of the images span cameras',
        'Cluster 5: 4 images, 2 identities, purity 50 %, 4 cameras',
        'Cluster 2: 2 images, 2 identities, purity 50 %, 1 camera',
        '✗ pid 3',
        'pid ?',
        '✓ pid 1',
    ):
        assert written.count(expected) == 1, expected
    assert written.count('✓ pid 4') == 2 and written.count('cam 6') == 2


def test_large_clusters_say_how_many_are_shown():
    images = Counting(20)
    figure = cluster_sheet(images, np.zeros(20, int), per_cluster=3)
    assert images.asked == [0, 10, 19]
    written = texts(figure)
    assert 'Cluster 0: 20 images (3 shown)' in written
    assert not by_gid(figure, 'frame-') and not by_gid(figure, 'legend')


def test_a_second_sheet_counts_all_clusters():
    images = Counting(10)
    figure = cluster_sheet(images, LABELS, camids=CAMS, num_clusters=2, first=2)
    assert sorted(images.asked) == [8, 9]
    written = texts(figure)
    assert written[0].startswith('Clusters 3 to 3 of 3, largest first; 1 of 10 images')
    assert written[1] == 'Cluster 2: 2 images, 1 camera'
    with pytest.raises(ValueError, match='first is 3, but there are 3 clusters'):
        cluster_sheet(images, LABELS, first=3)


def test_cameras_have_the_names_that_they_are_given():
    names = np.array(['cam1', 'cam1', '07', 'entrance-north-1', 'entrance-north-2'])
    written = texts(cluster_sheet(Counting(5), np.zeros(5, int), camids=names))
    assert written.count('cam1') == 2 and written.count('cam 07') == 1
    assert not any('cam cam' in words for words in written)
    # what is too long is cut in its middle: names differ at their end
    cut = [words for words in written if '…' in words]
    assert len(cut) == 2 and all(w.startswith('entr') for w in cut)
    assert [words[-1] for words in cut] == ['1', '2']
    assert '1 cluster with 100% of the images spans cameras' in written[0]


def test_bad_input_is_named():
    with pytest.raises(ValueError, match='all 3 images are outliers'):
        cluster_sheet([image()] * 3, [-1, -1, -1])
    with pytest.raises(ValueError, match='all 0 images'):
        cluster_sheet([], [])
    with pytest.raises(ValueError, match='images has 2 entries, labels 3'):
        cluster_sheet([image()] * 2, [0, 0, 0])
    with pytest.raises(ValueError, match='camids has 1'):
        cluster_sheet([image()] * 2, [0, 0], camids=[1])
    with pytest.raises(ValueError, match='pids'):
        cluster_sheet([image()] * 2, [0, 0], pids=[1])
