# SPDX-License-Identifier: Apache-2.0
"""Neighbours with a fixed share from the row's own camera."""

import numpy as np
import torch

from mmreid_gcl.parallel import Progress
from mmreid_gcl.precision import float32_products

from .features import prepare_features


def camera_knn(
    features,
    camids: np.ndarray,
    k: int,
    intra: int,
    device: str | torch.device | None = None,
    chunk_bytes: int = 1 << 28,
) -> tuple[np.ndarray, np.ndarray]:
    """The nearest rows of the own camera and of all others, in one list.

    Images of one camera look alike, so that the nearest ones of a plain search are
    mostly of the own camera. Here ``intra`` of the ``k - 1`` other rows are of it, and
    the rest of other cameras (the lists of Chen et al., *CA-Jaccard*, CVPR 2024). The
    two kinds alternate such that every prefix of the list has its share of both; each
    is sorted by distance, of equal ones the smaller index first. Exact, by chunked
    products.

    Args:
        features (np.ndarray | torch.Tensor): (N, C), scaled to unit length here.
        camids (np.ndarray): (N,) cameras.
        k (int): Length of a list, the row itself counted; N if there are fewer.
        intra (int): How many are of the own camera, in [0, k). Where one kind has too
            few rows, the other fills the list.
        device (str, optional): Defaults to CUDA where there is any.
        chunk_bytes (int): Size of a chunk of products. Defaults to 256 MiB.

    Returns:
        tuple[np.ndarray, np.ndarray]: (N, k) Euclidean distances, float32, and indices,
        int64. The row itself stands first.

    Raises:
        ValueError: If ``intra`` is out of its range, or there are not N cameras.
    """
    features = prepare_features(features, unit=True)
    camids = np.asarray(camids)
    n = len(features)
    if not 0 <= intra < k:
        raise ValueError(f'intra must be in [0, {k}) with {k} neighbours, got {intra}.')
    if camids.shape != (n,):
        raise ValueError(f'There are cameras {camids.shape} for {n} features.')
    k = min(k, n)
    if device is None:
        device = 'cuda' if torch.cuda.is_available() else 'cpu'
    x = torch.from_numpy(features.rows()).to(device)
    cameras, sizes = np.unique(camids, return_counts=True)
    distances = np.zeros((n, k), np.float32)
    indices = np.empty((n, k), np.int64)
    indices[:, 0] = np.arange(n)
    progress = Progress('Neighbours by camera', n)
    for camera, size in zip(cameras, sizes):
        own = torch.from_numpy(np.flatnonzero(camids == camera)).to(device)
        others = torch.from_numpy(np.flatnonzero(camids != camera)).to(device)
        inside = max(min(intra, size - 1), k - 1 - len(others))
        parts = [(x[own], own, inside), (x[others], others, k - 1 - inside)]
        # alternate: the j-th of m stands at (j + 1/2) / m
        places = [(np.arange(count) + 0.5) / max(count, 1) for *_, count in parts]
        order = np.argsort(np.concatenate(places), kind='stable')
        for rows in own.split(max(1, chunk_bytes // (4 * n))):
            found = [_nearest(x, rows, *part) for part in parts]
            d2, near = (torch.cat(both, dim=1) for both in zip(*found))
            at = rows.cpu().numpy()
            distances[at, 1:] = d2.clamp_min(0).sqrt().cpu().numpy()[:, order]
            indices[at, 1:] = near.cpu().numpy()[:, order]
            progress.update(len(rows))
    return distances, indices


def _nearest(x, rows, theirs, among, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """(n, count) squared distances and indices of the nearest of some rows."""
    with float32_products(x.device.type):
        d2 = 2 - 2 * (x[rows] @ theirs.T)
    d2.masked_fill_(rows[:, None] == among, torch.inf)  # never the row itself
    near = d2.topk(count, dim=1, largest=False).indices.sort(dim=1).values
    exact, order = d2.gather(1, near).sort(dim=1, stable=True)
    return exact, among[near.gather(1, order)]
