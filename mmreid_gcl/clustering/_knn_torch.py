# SPDX-License-Identifier: Apache-2.0
"""Neighbours by chunked matrix products and ``topk`` on any torch device."""

import warnings

import numpy as np
import torch

from mmreid_gcl.parallel import Progress
from mmreid_gcl.precision import float32_products

from .features import Features
from .recall import log_recall

_DTYPES = dict(
    float32=torch.float32,
    tf32=torch.float32,
    float16=torch.float16,
    bfloat16=torch.bfloat16,
)


def torch_search(
    features: Features,
    k: int,
    device: str | torch.device | None = None,
    precision: str = 'float32',
    chunk_bytes: int = 1 << 28,
    rerank: int | None = None,
    recall_sample: int = 1000,
    seed: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """The k nearest other rows of every row, by products on one device.

    ``device`` is by default CUDA where there is any. ``precision`` is the number format
    of the products: 'float32' (exact), 'tf32', 'float16' or 'bfloat16'. Of ``rerank``
    candidates a row, by default k + 32 unless exact, distances are computed again in
    float32. A chunk of products has ``chunk_bytes``. Recall is measured on
    ``recall_sample`` rows (0: none), unless exact.
    """
    if precision not in _DTYPES:
        raise ValueError(
            f'precision must be one of {sorted(_DTYPES)}, got {precision!r}'
        )
    if device is None:
        device = 'cuda' if torch.cuda.is_available() else 'cpu'
    place = torch.device(device)
    n = len(features)
    if rerank is None:
        rerank = k if precision == 'float32' else k + 32
    width = min(max(rerank, k) + 1, n)  # the row itself is among them
    with warnings.catch_warnings():
        # a memory map opened for reading; nothing here writes to it
        warnings.filterwarnings('ignore', message='.*not writable')
        x = torch.from_numpy(features.rows()).to(place)
    offset = torch.from_numpy(features.offset).to(place)
    low, scale = _low(x, _DTYPES[precision])
    chunk = max(1, min(n, chunk_bytes // (4 * n)))
    distances = np.empty((n, k), np.float32)
    indices = np.empty((n, k), np.int32)
    progress = Progress('Neighbours by torch', n)
    for start in range(0, n, chunk):
        stop = min(start + chunk, n)
        with float32_products(place.type, tf32=precision == 'tf32'):
            d2 = (low[start:stop] @ low.T).float()
        d2.mul_(-2 * scale).add_(offset).add_(offset[start:stop, None])
        own = torch.arange(start, stop, device=place)[:, None]
        # before all others, also those that rounding made negative
        d2.scatter_(1, own, -torch.inf)
        near = d2.topk(width, dim=1, largest=False).indices
        near = near[near != own].view(stop - start, width - 1)
        near = near.sort(dim=1).values  # a stable sort then breaks ties
        if rerank > k:
            exact = _again(x, offset, start, near, chunk_bytes)
        else:
            exact = d2.gather(1, near)
        exact, order = exact.clamp_(min=0).sort(dim=1, stable=True)
        distances[start:stop] = exact[:, :k].cpu().numpy()
        indices[start:stop] = near.gather(1, order)[:, :k].cpu().numpy()
        progress.update(stop - start)
    if precision != 'float32':
        log_recall(features, indices, recall_sample, seed, f'Neighbours in {precision}')
    return distances, indices


def _low(x: torch.Tensor, dtype: torch.dtype) -> tuple[torch.Tensor, float]:
    """Rows for the products, and what their products are multiplied by.

    Sums in float16 end at 65504, so that long rows are made shorter first.
    """
    if dtype == torch.float32:
        return x, 1.0
    longest = float(torch.linalg.vector_norm(x, dim=1).max()) or 1.0
    return (x / longest).to(dtype), longest**2


def _again(
    x: torch.Tensor,
    offset: torch.Tensor,
    start: int,
    near: torch.Tensor,
    chunk_bytes: int,
) -> torch.Tensor:
    """Squared distances of rows from ``start`` on to their candidates, in float32."""
    count, width = near.shape
    step = max(1, chunk_bytes // (4 * width * x.shape[1]))
    out = offset.new_empty(count, width)
    with float32_products(x.device.type):
        for a in range(0, count, step):
            some = near[a : a + step]
            rows = slice(start + a, start + a + len(some))
            products = torch.bmm(x[some], x[rows, :, None]).squeeze(2)
            out[a : a + step] = offset[some] + offset[rows, None] - 2 * products
    return out
