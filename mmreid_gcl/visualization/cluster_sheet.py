# SPDX-License-Identifier: Apache-2.0
"""Contact sheets of clusters, the least pure ones first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from mmreid_gcl.labels import camera_summary

from .canvas import FAINT, camera_words, check_length
from .sheet import LOOKS, Cell, check_image, thumbnail_rows

_LEGEND = ((LOOKS[True], 'most frequent identity'), (LOOKS[False], 'another identity'))


@dataclass(frozen=True)
class Cluster:
    """What there is to say of a cluster."""

    label: int  #: Its pseudo-label
    #: (n,) images; those of the most frequent identity, if known, first
    members: np.ndarray
    #: The most frequent identity, the smaller one of equals; None if none is known
    pid: int | None = None
    #: Its share of the cluster; images of unknown identity count as others
    purity: float | None = None


def describe_clusters(
    labels: np.ndarray, pids: np.ndarray | None = None
) -> list[Cluster]:
    """Clusters in the order in which to look at them.

    Of (N,) pseudo-labels (-1 is an outlier) and identities (-1 is not known): the least
    pure first where identities are known; then larger ones first; then by label.
    Lengths that differ are a ValueError.
    """
    labels = np.asarray(labels)
    check_length('describe_clusters: pids', pids, len(labels), 'labels')
    pids = None if pids is None else np.asarray(pids)
    order = np.argsort(labels, kind='stable')
    found, begins = np.unique(labels[order], return_index=True)
    parts = np.split(order, begins[1:])
    clusters = [
        _describe(int(label), members, pids)
        for label, members in zip(found, parts)
        if label >= 0
    ]

    def order_of(cluster: Cluster) -> tuple:
        purity = 2.0 if cluster.purity is None else cluster.purity
        return purity, -len(cluster.members), cluster.label

    return sorted(clusters, key=order_of)


def _describe(label: int, members: np.ndarray, pids: np.ndarray | None) -> Cluster:
    counts = Counter([] if pids is None else pids[members[pids[members] >= 0]].tolist())
    if pids is None or not counts:
        return Cluster(label, members)
    # unknown people are nobody's: their count is 0
    order = sorted(members.tolist(), key=lambda i: (-counts[pids[i]], pids[i], i))
    pid = int(pids[order[0]])
    return Cluster(label, np.array(order), pid, counts[pid] / len(members))


def spread(count: int, places: int) -> np.ndarray:
    """Evenly spaced positions of members of which not all have room.

    (min(count, places),), rising; the first and the last are among them if there
    are two places.
    """
    return np.linspace(0, count - 1, min(count, places)).round().astype(np.int64)


def cluster_sheet(
    images: Sequence[np.ndarray],
    labels: np.ndarray,
    pids: np.ndarray | None = None,
    camids: np.ndarray | None = None,
    num_clusters: int = 12,
    per_cluster: int = 12,
    title: str | None = None,
    thumb_height: float = 1.0,
    first: int = 0,
) -> Figure:
    """One row a cluster, the least pure ones first.

    Of a cluster that is too large evenly spaced members are shown, ordered by
    the frequency of their identities. Frames tell members of the most
    frequent identity (green, solid, check) from others (red, dashed, cross).

    Args:
        images (Sequence[np.ndarray]): N images, (H, W, 3) uint8; only those
            that are shown are asked for, so it may load them when indexed.
        labels (np.ndarray): (N,) pseudo-labels; -1 is an outlier.
        pids (np.ndarray, optional): (N,) identities; -1 is not known. Without
            it the largest clusters come first.
        camids (np.ndarray, optional): (N,) cameras, names or numbers. The line
            below the title then says how much of the clustering spans cameras.
        num_clusters (int): Rows at most. Defaults to 12.
        per_cluster (int): Images in a row at most. Defaults to 12.
        title (str, optional): Heading.
        thumb_height (float): Height of a thumbnail in inches. Defaults to 1.
        first (int): Rows to leave out, for a second sheet. Defaults to 0.

    Returns:
        Figure: With ``pids``, frames have the id ``frame-<label>-<image>``.

    Raises:
        ValueError: If there is no cluster from ``first`` on, or lengths differ.
    """
    labels = np.asarray(labels)
    for name, values in (('images', images), ('camids', camids)):
        if values is not None and len(values) != len(labels):
            raise ValueError(
                f'cluster_sheet: {name} has {len(values)} entries, labels '
                f'{len(labels)}.'
            )
    clusters = describe_clusters(labels, pids)
    if not clusters:
        raise ValueError(
            f'cluster_sheet: all {len(labels)} images are outliers (label -1); there '
            'is no cluster to show.'
        )
    shown = clusters[first : first + num_clusters]
    if not shown:
        raise ValueError(
            f'cluster_sheet: first is {first}, but there are {len(clusters)} clusters.'
        )
    count = f'{len(shown)} of {len(clusters)} clusters'
    if first:
        count = f'Clusters {first + 1} to {first + len(shown)} of {len(clusters)}'
    order = 'least pure first' if clusters[0].purity is not None else 'largest first'
    subtitle = f'{count}, {order}; {(labels < 0).sum()} of {len(labels)} images are '
    subtitle += 'outliers'
    if camids is not None and len(np.unique(camids)) > 1:
        across = camera_summary(labels, camids)
        spanning = int(across['cross_camera_clusters'])
        subtitle += f'; {_number(spanning, "cluster", "clusters")} with '
        subtitle += f'{across["cross_camera_images"]:.0%} of the images '
        subtitle += f'{"spans" if spanning == 1 else "span"} cameras'
    return thumbnail_rows(
        [
            [
                _cell(images, i, cluster, pids, camids)
                for i in cluster.members[spread(len(cluster.members), per_cluster)]
            ]
            for cluster in shown
        ],
        thumb_height,
        title,
        subtitle,
        words=[_words(cluster, pids, camids, per_cluster) for cluster in shown],
        legend=_LEGEND if pids is not None else (),
    )


def _cell(images, i: int, cluster: Cluster, pids, camids) -> Cell:
    image = check_image(images[int(i)], f'images[{i}]')
    captions, look = [], None
    if pids is not None:
        known = cluster.pid is not None and pids[i] >= 0
        look = LOOKS[bool(pids[i] == cluster.pid) if known else None]
        name = f'pid {pids[i]}' if pids[i] >= 0 else 'pid ?'
        captions.append((f'{look.mark} {name}'.strip(), look.color))
    if camids is not None:
        captions.append((camera_words(camids[i]), FAINT))
    return Cell(image, captions, look, f'frame-{cluster.label}-{i}')


def _words(cluster: Cluster, pids, camids, places: int) -> str:
    members = cluster.members
    words = f'Cluster {cluster.label}: {_number(len(members), "image", "images")}'
    if places < len(members):
        words += f' ({places} shown)'
    if cluster.purity is not None:
        mine = np.asarray(pids)[members]
        people = _number(len(np.unique(mine[mine >= 0])), 'identity', 'identities')
        words += f', {people}, purity {100 * cluster.purity:.0f} %'
    if camids is not None:
        cameras = len(np.unique(np.asarray(camids)[members]))
        words += f', {_number(cameras, "camera", "cameras")}'
    return words


def _number(count: int, one: str, more: str) -> str:
    return f'{count} {one if count == 1 else more}'
