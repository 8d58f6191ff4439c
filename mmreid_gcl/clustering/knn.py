# SPDX-License-Identifier: Apache-2.0
"""Nearest-neighbour search of every row among all rows."""

from collections.abc import Callable

import numpy as np
import torch
from mmengine.logging import print_log

from mmreid_gcl.parallel import all_cores, num_threads

from . import _knn_faiss
from ._knn_int8 import int8_search
from ._knn_symmetric import symmetric_search
from ._knn_torch import torch_search
from .features import Features, prepare_features

# Products of two numbers a second and core that 'auto' reckons with, and how long
# it lets a search take before it takes the next, less exact one.
# Measured at 12,936 x 2048 and 1,000,000 x 256 on AMD EPYC with AVX-512 and VNNI.
_FLOAT_RATE, _BYTE_RATE = 4.5e10, 7e10
_EXACT_SECONDS, _BYTE_SECONDS = 300, 3600

# name -> function(features, k, **options) that gives the k nearest other rows
BACKENDS: dict[str, Callable[..., tuple[np.ndarray, np.ndarray]]] = {
    'symmetric': symmetric_search,
    'int8': int8_search,
    'torch': torch_search,
    'faiss': _knn_faiss.flat_search,
    'faiss-gpu': _knn_faiss.gpu_search,
    'ivf': _knn_faiss.ivf_search,
    'hnsw': _knn_faiss.hnsw_search,
}


def knn_search(
    features, k: int, backend: str = 'auto', **options
) -> tuple[np.ndarray, np.ndarray]:
    """Find the k nearest neighbours of every row among all rows.

    A row is its own first neighbour, at distance 0, always: also when the data
    hold exact copies of it, which follow. The remaining neighbours are sorted
    by distance; of equally distant rows the exact backends put the smaller
    index first where they compute equal distances (products of floats in
    another order may differ in the last bit).

    Args:
        features (np.ndarray | np.memmap | torch.Tensor): (N, C), floating-point,
            of any length. Contiguous float32 is read where it lies, without a
            copy, by the backends 'symmetric' and 'torch'.
        k (int): Number of neighbours, the row itself counted as one. With fewer
            than k rows all N are given.
        backend (str): How to search. Defaults to 'auto'.

            - 'symmetric': exact, CPU, computes every product once.
            - 'torch': exact, chunked products and ``topk`` on any device;
              options ``device`` and ``precision``.
            - 'faiss': exact, CPU, ``faiss.IndexFlatL2``.
            - 'faiss-gpu': exact, where a faiss with GPU support is installed.
            - 'int8': all pairs by 8-bit products, the best checked in float32,
              CPU; option ``extra``. Recall on a sample is measured and logged.
            - 'ivf', 'hnsw': approximate, faiss, CPU; recall likewise.
            - 'auto': 'torch' on CUDA if there is any; on a CPU 'symmetric'
              while that takes minutes (some 100,000 x 2048 on two cores), else
              'int8' while that takes up to an hour, else 'ivf'. Logs its choice.
        **options: Passed to the backend's function.

    Returns:
        tuple[np.ndarray, np.ndarray]: Euclidean distances, *not* squared, of
        shape (N, min(k, N)) float32, and indices of the same shape, int64.

    Raises:
        TypeError: If features are not floating-point arrays or tensors.
        ValueError: If k < 1, the backend is unknown, the shape is not (N, C), or
            a row holds NaN or Inf.

    Examples:
        >>> distances, indices = knn_search(features, k=30)
        >>> distances, indices = knn_search(features, 30, 'torch', device='cuda')
    """
    squared, indices = squared_knn(
        prepare_features(features, unit=False), k, backend, **options
    )
    return np.sqrt(squared, out=squared), indices.astype(np.int64)


def squared_knn(
    features: Features, k: int, backend: str = 'auto', **options
) -> tuple[np.ndarray, np.ndarray]:
    """As :func:`knn_search`, with *squared* distances and int32 indices."""
    if isinstance(k, bool) or not isinstance(k, (int, np.integer)) or k < 1:
        raise ValueError(f'k must be a whole number of at least 1, got {k!r}')
    n = len(features)
    if backend == 'auto':
        backend, options = _choose(features, options)
    if backend not in BACKENDS:
        raise ValueError(
            f"backend must be 'auto' or one of {sorted(BACKENDS)}, got {backend!r}"
        )
    own = np.arange(n, dtype=np.int32)[:, None]
    k = min(int(k), n)
    if k == 1:
        return np.zeros((n, 1), np.float32), own
    with all_cores():
        squared, indices = BACKENDS[backend](features, k - 1, **options)
    return (
        np.concatenate([np.zeros((n, 1), np.float32), squared], axis=1),
        np.concatenate([own, indices], axis=1),
    )


def _has_fast_bytes() -> bool:
    return hasattr(torch, '_int_mm') and torch.cpu._is_vnni_supported()


def _choose(features: Features, options: dict) -> tuple[str, dict]:
    n, c = features.x.shape
    if options:
        raise ValueError(
            f"backend='auto' takes no options, got {sorted(options)}: name the "
            'backend that they belong to'
        )
    products = n * (n + 1) / 2 * c / num_threads()
    if torch.cuda.is_available():
        choice = 'torch', dict(device='cuda')
    elif products <= _FLOAT_RATE * _EXACT_SECONDS:
        choice = 'symmetric', {}
    elif products <= _BYTE_RATE * _BYTE_SECONDS and _has_fast_bytes():
        choice = 'int8', {}
    else:
        choice = 'ivf', {}
    print_log(
        f'Neighbour search over {n} x {c} features: backend {choice[0]!r}'
        + (f' {choice[1]}' if choice[1] else ''),
        logger='current',
    )
    return choice
