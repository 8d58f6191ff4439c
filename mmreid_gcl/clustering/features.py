# SPDX-License-Identifier: Apache-2.0
"""Checks and conversion of feature arrays.

Features are (N, C) real numbers without NaN or Inf. Zero vectors are refused where a
direction is needed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mmreid_gcl.compiled import jit
from mmreid_gcl.parallel import map_row_ranges

# Products of rows with norms in this range neither overflow nor lose digits in
# float32, so such rows are scaled after the product instead of being copied.
_SAFE_NORMS = (1e-6, 1e6)
#: Rows converted at a time, so that the temporaries stay small.
_BLOCK = 4096


@dataclass
class Features:
    """Rows and what makes a squared distance of a product of two of them.

    ``d2_ij = offset_i + offset_j - 2 * scale_i * scale_j * <x_i, x_j>``. With unit
    length, ``scale = 1 / norm`` and ``offset = 1``: a normalised copy is never made, so
    features in a memory map stay there.
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


def feature_dtype(*features: np.ndarray | Tensor) -> torch.dtype:
    """The dtype to compute in: float64 if any input needs it, else float32.

    float64, long double and integers of more than 16 bits do. Complex and other values
    are a ``TypeError``.
    """
    wide = False
    for array in features:
        if isinstance(array, Tensor):
            if array.dtype.is_complex:
                raise TypeError(f'features must be real, got {array.dtype}.')
            kind = 'f' if array.dtype.is_floating_point else 'i'
            itemsize = array.element_size()
        else:
            kind, itemsize = array.dtype.kind, array.dtype.itemsize
            if kind not in 'fiub':
                raise TypeError(f'features must be numbers, got dtype {array.dtype}.')
        wide = wide or itemsize > (4 if kind == 'f' else 2)
    return torch.float64 if wide else torch.float32


def as_matrix(
    features: np.ndarray | Tensor, name: str = 'features'
) -> np.ndarray | Tensor:
    """``features`` as they are, or as an array, if real, (N, C) and not empty.

    Else a ``TypeError`` or ``ValueError`` that calls them ``name``.
    """
    if not isinstance(features, Tensor):
        features = np.asarray(features)
    if features.ndim != 2 or 0 in features.shape:
        raise ValueError(
            f'{name} must have the shape (images, channels) and not be empty, got '
            f'{tuple(features.shape)}.'
        )
    feature_dtype(features)
    return features


def as_pair(query_features, gallery_features) -> tuple:
    """Features of queries and gallery by :func:`as_matrix`, (Q, C) and (G, C).

    A ``ValueError`` if they have different channels.
    """
    query_features = as_matrix(query_features, 'query_features')
    gallery_features = as_matrix(gallery_features, 'gallery_features')
    if query_features.shape[1] != gallery_features.shape[1]:
        raise ValueError(
            'query_features and gallery_features must have equally many channels, '
            f'got {query_features.shape[1]} and {gallery_features.shape[1]}.'
        )
    return query_features, gallery_features


def prepare_features(features, unit: bool) -> Features:
    """Check features, any real (N, C), and compute what distances need.

    Float32 arrays are not copied. With ``unit`` rows are taken as scaled to unit
    length. A row of NaN or Inf or, with ``unit``, of zeros is a ``ValueError`` that
    names the first.
    """
    if isinstance(features, Features):
        return features
    x = as_matrix(features)
    if isinstance(x, Tensor):
        x = x.detach().float().cpu().numpy()
    # beyond float32's range the cast gives inf, which is then reported
    with np.errstate(over='ignore'):
        x = np.ascontiguousarray(x, dtype=np.float32)
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


def unit_rows(
    features: np.ndarray | Tensor,
    name: str = 'features',
    keep: np.ndarray | None = None,
    dtype: torch.dtype | None = None,
    device: torch.device | str | None = None,
    out: np.ndarray | None = None,
) -> Tensor:
    """Features (n, C) copied to unit length; every row is checked.

    Rows are divided by their largest magnitude first, so that neither very large nor
    very small values overflow in the norm. Those under ``keep`` (n,) are returned, but
    a row of zeros, NaN or Inf is a ``ValueError`` in any case. By default in
    :func:`feature_dtype` and where the features lie; ``out`` (rows kept, C) takes the
    result on a CPU.
    """
    features = as_matrix(features, name)
    dtype = dtype or feature_dtype(features)
    if device is None:
        device = features.device if isinstance(features, Tensor) else 'cpu'
    num, channels = features.shape
    kept = num if keep is None else int(np.count_nonzero(keep))
    if out is None:
        result = torch.empty((kept, channels), dtype=dtype, device=device)
    else:
        result = torch.from_numpy(out)
    filled = 0
    for start in range(0, num, _BLOCK):
        stop = min(start + _BLOCK, num)
        if isinstance(features, Tensor):
            block = features[start:stop].detach().to(device, dtype)
        else:
            # A copy: torch takes neither negative strides nor odd byte orders.
            as_numpy = np.float64 if dtype == torch.float64 else np.float32
            block = torch.from_numpy(np.array(features[start:stop], dtype=as_numpy))
            block = block.to(device)
        magnitude = block.abs().amax(dim=1, keepdim=True)
        _check_rows(magnitude, start, name)
        block = block / magnitude
        block = block / torch.linalg.vector_norm(block, dim=1, keepdim=True)
        if keep is not None:
            block = block[torch.from_numpy(keep[start:stop]).to(device)]
        result[filled : filled + len(block)] = block
        filled += len(block)
    return result


def _check_rows(magnitude: Tensor, start: int, name: str) -> None:
    bad = ~torch.isfinite(magnitude) | (magnitude == 0)
    if not bool(bad.any()):
        return
    row = int(bad.flatten().nonzero()[0])
    if float(magnitude[row]) == 0:
        raise ValueError(
            f'{name}: row {start + row} is a zero vector; its direction, and so its '
            'cosine similarity, is undefined.'
        )
    raise ValueError(
        f'{name}: row {start + row} holds NaN or Inf. The model that made it has '
        'diverged or overflowed; look at its loss, or embed in float32.'
    )
