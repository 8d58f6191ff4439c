# SPDX-License-Identifier: Apache-2.0
"""One embedding for each track."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ..clustering.features import unit_rows
from .ground_truth import as_ids


def track_means(
    features: np.ndarray | Tensor,
    tracks: np.ndarray | Tensor | Sequence[int],
    weights: np.ndarray | Tensor | Sequence[float] | None = None,
) -> tuple[np.ndarray | Tensor, np.ndarray]:
    """The mean direction of the images of each track.

    Args:
        features (np.ndarray | Tensor): (N, C), any real dtype, scaled to unit length
            inside.
        tracks (np.ndarray | Tensor | Sequence[int]): (N,) integers; each image of a
            negative one (not known) is a track of its own.
        weights (np.ndarray | Tensor | Sequence[float], optional): (N,) of the images, 0
            or more, such as their quality. Defaults to equal ones.

    Returns:
        tuple: ``(means, groups)``: (T, C) of unit length, in the order of the first
        images, a tensor on its device if ``features`` is one, float64 if that is, else
        float32; and (N,) int64, the row of each image's track.

    Raises:
        ValueError: If shapes disagree, a weight is negative or not finite, or a track
            has no direction: its weights are all 0, or its images cancel out.
    """
    units = unit_rows(features)
    num = len(units)
    tracks = as_ids(tracks, num, 'tracks')
    own = np.where(tracks < 0, -1 - np.arange(num), tracks)
    _, first, groups = np.unique(own, return_index=True, return_inverse=True)
    order = np.argsort(first)
    groups = np.argsort(order)[groups]
    if weights is not None:
        given = torch.as_tensor(weights, dtype=units.dtype, device=units.device)
        if given.shape != (num,):
            raise ValueError(
                f'weights must be one number per feature, shape ({num},), got '
                f'{tuple(given.shape)}.'
            )
        if not (torch.isfinite(given) & (given >= 0)).all():
            raise ValueError('weights must be finite and not negative.')
        units = units * given[:, None]
    rows = torch.from_numpy(groups).to(units.device)
    sums = torch.zeros((len(order), units.shape[1]), dtype=units.dtype).to(units.device)
    means = unit_rows(sums.index_add_(0, rows, units), 'means of tracks')
    return means if isinstance(features, Tensor) else means.numpy(), groups
