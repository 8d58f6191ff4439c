# SPDX-License-Identifier: Apache-2.0
"""Checking features and bringing them into the form the kernels read."""

from dataclasses import dataclass

import numpy as np
import torch

from mmreid_gcl.compiled import jit
from mmreid_gcl.parallel import map_row_ranges

# Products of rows with norms in this range neither overflow nor lose digits in
# float32, so such rows are scaled after the product instead of being copied.
_SAFE_NORMS = (1e-6, 1e6)


@dataclass
class Features:
    """Rows and what makes a squared distance of a product of two of them.

    ``d2_ij = offset_i + offset_j - 2 * scale_i * scale_j * <x_i, x_j>``.
    With unit length, ``scale = 1 / norm`` and ``offset = 1``: a normalised copy
    is never made, so features in a memory map stay there.

    Attributes:
        x (np.ndarray): (N, C) float32, C-contiguous.
        scale (np.ndarray): (N,) float32.
        offset (np.ndarray): (N,) float32.
    """

    x: np.ndarray
    scale: np.ndarray
    offset: np.ndarray

    def __len__(self) -> int:
        return len(self.x)

    def rows(self, index=slice(None)) -> np.ndarray:
        """Rows as they take part in distances: (n, C) float32.

        A view of the original where nothing needs to be scaled.
        """
        scale = self.scale[index]
        if np.all(scale == 1):
            return np.ascontiguousarray(self.x[index])
        return self.x[index] * scale[:, None]


@jit(fastmath={'reassoc', 'contract'})
def dot(a, b):
    """Product of two rows of equal length, float32, in compiled code."""
    total = np.float32(0)
    for c in range(a.shape[0]):
        total += a[c] * b[c]
    return total


@jit(fastmath={'reassoc', 'contract'})
def _squared_norms(x, start, stop, out):
    for i in range(start, stop):
        total = 0.0
        for c in range(x.shape[1]):
            value = np.float64(x[i, c])
            total += value * value
        out[i] = total


def as_float32_matrix(features) -> np.ndarray:
    """Features as a C-contiguous float32 matrix, without a copy where possible.

    Args:
        features (np.ndarray | np.memmap | torch.Tensor): (N, C), any real
            floating type, any strides, any device.

    Returns:
        np.ndarray: (N, C) float32, C-contiguous; shares memory with the input
        where that already has this form.

    Raises:
        TypeError: If the values are not real floating-point numbers.
        ValueError: If the shape is not (N, C) with N, C >= 1.
    """
    if isinstance(features, torch.Tensor):
        features = features.detach()
        if features.is_floating_point() and features.dtype != torch.float32:
            features = features.float()
        features = features.cpu().numpy()
    if not isinstance(features, np.ndarray):
        raise TypeError(
            'features must be a numpy array or a torch tensor of shape (N, C), got '
            f'{type(features).__name__}'
        )
    if features.ndim != 2 or 0 in features.shape:
        raise ValueError(
            'features must have the shape (N, C) with at least one row and one '
            f'column, got {features.shape}'
        )
    if features.dtype.kind != 'f':
        raise TypeError(f'features must be floating-point, got {features.dtype}')
    if features.dtype.itemsize > 4:
        # beyond float32's range the cast gives inf, which is then reported
        with np.errstate(over='ignore'):
            return np.ascontiguousarray(features, dtype=np.float32)
    return np.ascontiguousarray(features, dtype=np.float32)


def prepare_features(features, unit: bool) -> Features:
    """Check features and compute what distances need.

    Args:
        features (np.ndarray | np.memmap | torch.Tensor | Features): (N, C).
        unit (bool): Whether rows are to be taken as scaled to unit length.

    Returns:
        Features: Ready for the kernels.

    Raises:
        ValueError: If a row holds NaN or Inf or, with ``unit``, only zeros;
            the message names the first such row.
    """
    if isinstance(features, Features):
        return features
    x = as_float32_matrix(features)
    squared = np.empty(len(x), np.float64)
    map_row_ranges(
        lambda start, stop: _squared_norms(x, start, stop, squared), len(x), 'Norms'
    )
    bad = np.flatnonzero(~np.isfinite(squared))
    if bad.size:
        raise ValueError(
            f'features[{bad[0]}] contains NaN or Inf ({bad.size} such row(s) of '
            f'{len(x)}): check the model that produced them, for example for a '
            'diverged training or an overflow in half precision'
        )
    if not unit:
        _refuse_overflow(squared)
        ones = np.ones(len(x), np.float32)
        return Features(x, ones, squared.astype(np.float32))
    bad = np.flatnonzero(squared == 0)
    if bad.size:
        raise ValueError(
            f'features[{bad[0]}] is a zero vector ({bad.size} such row(s) of '
            f'{len(x)}) and cannot be scaled to unit length: remove these rows or '
            'check the model that produced them'
        )
    norms = np.sqrt(squared)
    if norms.min() < _SAFE_NORMS[0] or norms.max() > _SAFE_NORMS[1]:
        x = (x / norms[:, None]).astype(np.float32)
        norms = np.ones_like(norms)
    scale = (1.0 / norms).astype(np.float32)
    return Features(x, scale, np.ones(len(x), np.float32))


def _refuse_overflow(squared: np.ndarray) -> None:
    large = np.flatnonzero(squared > np.finfo(np.float32).max / 8)
    if large.size:
        raise ValueError(
            f'features[{large[0]}] is too long for squared distances in float32 '
            f'(norm {squared[large[0]] ** 0.5:.3g}): scale the features down'
        )
