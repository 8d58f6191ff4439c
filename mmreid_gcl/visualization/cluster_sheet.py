# SPDX-License-Identifier: Apache-2.0
"""Contact sheets of clusters, the least pure ones first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from .ranking_sheet import LOOKS
from .sheet import FAINT, Sheet, box_of, check_image, thumbnail_width, wrap

_GAP = 0.12
_MARGIN = 0.2


@dataclass(frozen=True)
class Cluster:
    """What there is to say of a cluster.

    Attributes:
        label (int): Its pseudo-label.
        members (np.ndarray): (n,) images; those of the most frequent identity
            first where identities are known.
        pid (int | None): The most frequent identity, the smaller one of equals;
            None if none is known.
        purity (float | None): Its share of the cluster, images of unknown
            identity counted as others; None if none is known.
    """

    label: int
    members: np.ndarray
    pid: int | None = None
    purity: float | None = None


def describe_clusters(
    labels: np.ndarray, pids: np.ndarray | None = None
) -> list[Cluster]:
    """Clusters in the order in which to look at them.

    Args:
        labels (np.ndarray): (N,) pseudo-labels; -1 is an outlier.
        pids (np.ndarray, optional): (N,) identities; -1 is not known.

    Returns:
        list[Cluster]: The least pure first where identities are known; then
        larger ones first; then by label.

    Raises:
        ValueError: If the lengths differ.
    """
    labels = np.asarray(labels)
    if pids is not None:
        pids = np.asarray(pids)
        if pids.shape != labels.shape:
            raise ValueError(
                f'describe_clusters: {labels.shape} labels, but {pids.shape} pids. '
                'Give one identity for each label, -1 where it is not known.'
            )
    order = np.argsort(labels, kind='stable')
    found, begins = np.unique(labels[order], return_index=True)
    parts = np.split(order, begins[1:])
    clusters = [
        _describe(int(label), members, pids)
        for label, members in zip(found, parts)
        if label >= 0
    ]
    return sorted(
        clusters,
        key=lambda c: (
            2.0 if c.purity is None else c.purity,
            -len(c.members),
            c.label,
        ),
    )


def _describe(label: int, members: np.ndarray, pids: np.ndarray | None) -> Cluster:
    if pids is None or not (pids[members] >= 0).any():
        return Cluster(label, members)
    mine = pids[members]
    known, counts = np.unique(mine[mine >= 0], return_counts=True)
    best = counts.argmax()
    frequency = dict(zip(known.tolist(), counts.tolist()))
    members = members[
        np.lexsort((members, mine, [-frequency.get(pid, 0) for pid in mine.tolist()]))
    ]
    return Cluster(label, members, int(known[best]), float(counts[best] / len(members)))


def spread(count: int, places: int) -> np.ndarray:
    """Positions of evenly spaced members, when not all have room.

    Args:
        count (int): Members.
        places (int): Room.

    Returns:
        np.ndarray: (min(count, places),) rising positions; the first and the
        last are among them if there are two places.
    """
    if count <= places:
        return np.arange(count)
    return np.round(np.linspace(0, count - 1, places)).astype(np.int64)


def cluster_sheet(
    images: Sequence[np.ndarray],
    labels: np.ndarray,
    pids: np.ndarray | None = None,
    camids: np.ndarray | None = None,
    num_clusters: int = 12,
    per_cluster: int = 12,
    title: str | None = None,
    thumb_height: float = 1.0,
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
        camids (np.ndarray, optional): (N,) cameras.
        num_clusters (int): Rows at most. Defaults to 12.
        per_cluster (int): Images in a row at most. Defaults to 12.
        title (str, optional): Heading.
        thumb_height (float): Height of a thumbnail in inches. Defaults to 1.

    Returns:
        Figure: With ``pids``, frames have the id ``frame-<label>-<image>``.

    Raises:
        ValueError: If there is no cluster, or lengths differ.
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
    shown = clusters[:num_clusters]
    rows = [c.members[spread(len(c.members), per_cluster)] for c in shown]
    loaded = {
        int(i): check_image(images[int(i)], f'images[{i}]') for row in rows for i in row
    }
    width = max(thumbnail_width(list(loaded.values()), thumb_height), 0.62)
    caption = (0.15 if camids is not None else 0) + (0.15 if pids is not None else 0)
    row_height = 0.28 + thumb_height + caption + 0.2
    total_width = 2 * _MARGIN + max(map(len, rows)) * (width + _GAP) - _GAP
    total_width = max(total_width, 6.0)
    heading = wrap(title or '', total_width - 2 * _MARGIN, 12)
    top = _MARGIN + 0.22 * len(heading) + 0.3
    height = top + len(shown) * row_height + (0.4 if pids is not None else 0.05)
    sheet = Sheet(total_width, height)
    for n, line in enumerate(heading):
        y = _MARGIN + 0.06 + 0.22 * n
        sheet.text(_MARGIN, y, line, 12, align='left', weight='bold')
    outliers = int((labels < 0).sum())
    order = 'least pure first' if clusters[0].purity is not None else 'largest first'
    sheet.text(
        _MARGIN,
        top - 0.18,
        f'{len(shown)} of {len(clusters)} clusters, {order}; {outliers} of '
        f'{len(labels)} images are outliers',
        9,
        FAINT,
        align='left',
    )
    for n, (cluster, row) in enumerate(zip(shown, rows)):
        y = top + n * row_height
        words = _words(cluster, pids, camids, len(row))
        sheet.text(_MARGIN, y + 0.14, words, 9, align='left')
        for j, i in enumerate(row.tolist()):
            x = _MARGIN + j * (width + _GAP)
            flag = None
            if pids is not None and cluster.pid is not None and pids[i] >= 0:
                flag = bool(pids[i] == cluster.pid)
            color, style, mark, _ = LOOKS[flag]
            above = y + 0.28
            shot = sheet.thumbnail(loaded[i], x, above, width, thumb_height)
            if pids is not None:
                gid = f'frame-{cluster.label}-{i}'
                sheet.frame(*box_of(shot), color, style, label=gid)
            below = above + thumb_height + 0.05
            if pids is not None:
                name = f'pid {pids[i]}' if pids[i] >= 0 else 'pid ?'
                text = ' '.join(filter(None, (mark, name)))
                sheet.text(x + width / 2, below, text, 7, color, vertical='top')
                below += 0.14
            if camids is not None:
                text = f'cam {camids[i]}'
                sheet.text(x + width / 2, below, text, 7, FAINT, vertical='top')
    if pids is not None:
        _legend(sheet, height - 0.25)
    return sheet.figure


def _words(cluster: Cluster, pids, camids, shown: int) -> str:
    members = cluster.members
    words = f'Cluster {cluster.label}: {_number(len(members), "image")}'
    if shown < len(members):
        words += f' ({shown} shown)'
    if cluster.purity is not None:
        mine = np.asarray(pids)[members]
        people = len(np.unique(mine[mine >= 0]))
        identities = 'identity' if people == 1 else 'identities'
        words += f', {people} {identities}, purity {100 * cluster.purity:.0f} %'
    if camids is not None:
        cameras = len(np.unique(np.asarray(camids)[members]))
        words += f', {_number(cameras, "camera")}'
    return words


def _number(count: int, noun: str) -> str:
    return f'{count} {noun}' + ('' if count == 1 else 's')


def _legend(sheet: Sheet, y: float) -> None:
    x = _MARGIN
    for flag, words in ((True, 'most frequent identity'), (False, 'another identity')):
        color, style, mark, _ = LOOKS[flag]
        sheet.frame(x, y - 0.09, 0.26, 0.18, color, style, 2.5, 'legend')
        sheet.text(x + 0.36, y, f'{mark} {words}', 9, color, align='left')
        x += 2.5
