# SPDX-License-Identifier: Apache-2.0
"""Checked, unit-length features: what every ranking starts from."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

#: Rows converted at a time, so that the temporaries stay small.
_BLOCK = 4096


def feature_dtype(*features: np.ndarray | Tensor) -> torch.dtype:
    """The dtype to compute in: float64 if any input holds it, else float32.

    Args:
        *features (np.ndarray | Tensor): Arrays of features.

    Returns:
        torch.dtype: ``torch.float64`` for float64, long double and integers
        of more than 16 bits, ``torch.float32`` for everything narrower.

    Raises:
        TypeError: If an array is complex or not numeric.
    """
    wide = False
    for array in features:
        if isinstance(array, Tensor):
            if array.dtype.is_complex:
                raise TypeError(f'Features must be real, got {array.dtype}.')
            kind = 'f' if array.dtype.is_floating_point else 'i'
            itemsize = array.element_size()
        else:
            kind, itemsize = array.dtype.kind, array.dtype.itemsize
            if kind not in 'fiub':
                raise TypeError(f'Features must be numbers, got dtype {array.dtype}.')
        wide = wide or itemsize > (4 if kind == 'f' else 2)
    return torch.float64 if wide else torch.float32


def as_matrix(features: np.ndarray | Tensor, name: str) -> np.ndarray | Tensor:
    """Check that ``features`` is a non-empty (n, C) array, without copying it.

    Args:
        features (np.ndarray | Tensor | Sequence): (n, C).
        name (str): What the messages call it.

    Returns:
        np.ndarray | Tensor: The input; anything but a tensor as an array.

    Raises:
        ValueError: If it does not have two dimensions or is empty.
    """
    if not isinstance(features, Tensor):
        features = np.asarray(features)
    if features.ndim != 2 or 0 in tuple(features.shape):
        raise ValueError(
            f'{name} must have the shape (images, channels) and not be empty, got '
            f'{tuple(features.shape)}.'
        )
    return features


def unit_rows(
    features: np.ndarray | Tensor,
    name: str = 'features',
    keep: np.ndarray | None = None,
    dtype: torch.dtype | None = None,
    device: torch.device | str | None = None,
    out: np.ndarray | None = None,
) -> Tensor:
    """Copy features to unit length, checking every row.

    Rows are divided by their largest magnitude first, so that neither very
    large nor very small values overflow in the norm.

    Args:
        features (np.ndarray | Tensor): (n, C), any real dtype and strides.
        name (str): What the messages call it. Defaults to 'features'.
        keep (np.ndarray, optional): (n,) bool, the rows to return. All rows
            are checked whether kept or not. Defaults to None: all.
        dtype (torch.dtype, optional): float32 or float64. Defaults to None:
            :func:`feature_dtype`.
        device (torch.device | str, optional): Where the result lies. Defaults
            to None: where the features lie.
        out (np.ndarray, optional): (rows kept, C), where to write the result
            on a CPU. Defaults to None.

    Returns:
        Tensor: (rows kept, C), contiguous, each row of length 1.

    Raises:
        ValueError: If a row is zero or holds NaN or Inf; the message names
            the first such row.
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
