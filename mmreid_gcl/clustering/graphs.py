# SPDX-License-Identifier: Apache-2.0
"""Graph builders: which images GCL refines an image with.

A builder takes features, paths, cameras and times, and gives the nodes of each image's
graph. It gets no identity, but ``order='filename'`` may read one in the name.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePath

import numpy as np
from mmengine.logging import print_log

from mmreid_gcl.registry import TASK_UTILS

from .knn import knn_search

ORDERS = ('filename', 'camera_time', 'random')


def filename_order(paths: np.ndarray) -> np.ndarray:
    """The paper's order, by file name; public ones begin with the identity.

    Args:
        paths (np.ndarray): (N,) str.

    Returns:
        np.ndarray: (N,) permutation.
    """
    keys = [(PurePath(path).name, path) for path in paths.tolist()]
    return np.array(sorted(range(len(keys)), key=keys.__getitem__), dtype=np.int64)


def camera_time_order(
    camids: np.ndarray, sequences: np.ndarray, frames: np.ndarray, seed: int
) -> np.ndarray:
    """By camera, sequence and frame; what shares all three, at random.

    Args:
        camids (np.ndarray): (N,) integers, as are the next two.
        sequences (np.ndarray): (N,).
        frames (np.ndarray): (N,).
        seed (int): Seed of the ties.

    Returns:
        np.ndarray: (N,) permutation.
    """
    ties = np.random.default_rng(seed).permutation(len(camids))
    return np.lexsort((ties, frames, sequences, camids))


def partition(order: np.ndarray, size: int) -> np.ndarray:
    """Cut an order into graphs of ``size`` nodes, the last one smaller.

    Args:
        order (np.ndarray): (N,) permutation.
        size (int): B, nodes in a graph.

    Returns:
        np.ndarray: (N, min(B, N)) int64; row i names the nodes of i's graph, -1
        is an empty place.
    """
    count = len(order)
    size = min(size, count)
    graphs = np.full(-(-count // size) * size, -1, dtype=np.int64)
    graphs[:count] = order
    graphs = graphs.reshape(-1, size)
    rows = np.empty((count, size), dtype=np.int64)
    rows[order] = np.repeat(graphs, size, axis=0)[:count]
    return rows


def mutual(indices: np.ndarray) -> np.ndarray:
    """Keep the neighbours that count the image among theirs.

    Args:
        indices (np.ndarray): (N, B) nearest neighbours.

    Returns:
        np.ndarray: (N, B), -1 in place of the others; i itself is always kept.
    """
    count, size = indices.shape
    rows = np.repeat(np.arange(count, dtype=np.int64), size)
    columns = indices.reshape(-1).astype(np.int64)
    back = np.isin(columns * count + rows, rows * count + columns)
    kept = np.where(back, columns, -1).reshape(count, size)
    alone = ~(kept == np.arange(count)[:, None]).any(axis=1)
    kept[alone, -1] = np.flatnonzero(alone)
    return kept


@TASK_UTILS.register_module()
class OrderedGraphs:
    """Graphs of images that follow each other in some order.

    Args:
        order (str): 'filename' is the paper's. In Market-1501, DukeMTMC-reID
            and MSMT17 it *leaks identities* into the clustering, which a
            warning says. 'camera_time' is what a real deployment has,
            'random' the control.
        size (int): B, nodes in a graph. Defaults to 16.
        seed (int): Seed of 'random' (with the epoch) and of the ties of
            'camera_time'. Defaults to 0.

    Raises:
        ValueError: If an argument is out of its range.
    """

    def __init__(self, order: str, size: int = 16, seed: int = 0) -> None:
        if order not in ORDERS:
            raise ValueError(f'order must be one of {ORDERS}, got {order!r}.')
        _check_size(size)
        self.order = order
        self.size = size
        self.seed = seed
        self._warned = False

    def __call__(
        self, features: np.ndarray, records: Mapping[str, np.ndarray], epoch: int = 0
    ) -> np.ndarray:
        """(N, B) int64 nodes of each image's graph, -1 is empty.

        Of the features (N, C) only N matters. ``records`` are (N,) arrays 'img_path',
        'camid', 'sequence' and 'frame'; ``epoch`` makes 'random' new every time.
        """
        if self.order == 'filename':
            self._warn(
                "Graphs follow the file names (order='filename', as in the paper). "
                'Where a name begins with the identity, as in Market-1501, '
                'DukeMTMC-reID and MSMT17, this leaks labels into the '
                "clustering. order='camera_time' does not."
            )
            order = filename_order(records['img_path'])
        elif self.order == 'camera_time':
            if len(features) > 1 and (records['frame'] == records['frame'][0]).all():
                self._warn(
                    "order='camera_time', but all images have the same frame number: "
                    'within a camera and sequence their order is random.'
                )
            order = camera_time_order(
                records['camid'], records['sequence'], records['frame'], self.seed
            )
        else:
            rng = np.random.default_rng([self.seed, epoch])
            order = rng.permutation(len(features))
        return partition(order, self.size)

    def _warn(self, message: str) -> None:
        if not self._warned:
            print_log(message, logger='current', level=30)
        self._warned = True


@TASK_UTILS.register_module()
class NeighbourGraphs:
    """Each image with its B - 1 nearest in feature space; no name, no label.

    Args:
        size (int): B, nodes in a graph, the image itself included.
            Defaults to 16.
        mutual (bool): Keep only neighbours that count the image among their
            own B. Defaults to False.
        knn (dict): Arguments of :func:`~mmreid_gcl.clustering.knn_search`.

    Raises:
        ValueError: If ``size`` is less than 1.
    """

    def __init__(
        self, size: int = 16, mutual: bool = False, knn: dict | None = None
    ) -> None:
        _check_size(size)
        self.size = size
        self.mutual = mutual
        self.knn = dict(knn or {})

    def __call__(
        self, features: np.ndarray, records: Mapping[str, np.ndarray], epoch: int = 0
    ) -> np.ndarray:
        """Build the graphs; see :meth:`OrderedGraphs.__call__`."""
        size = min(self.size, len(features))
        indices = np.asarray(knn_search(features, size, **self.knn)[1], dtype=np.int64)
        return mutual(indices) if self.mutual else indices


def _check_size(size: int) -> None:
    if size < 1:
        raise ValueError(f'size (B, nodes in a graph) must be at least 1, got {size}.')
