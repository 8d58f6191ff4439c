# SPDX-License-Identifier: Apache-2.0
"""Neighbours by chunked matrix products and ``topk`` on any torch device."""

import warnings

import numpy as np
import torch

from mmreid_gcl.parallel import Progress
from mmreid_gcl.precision import float32_products

from .features import Features

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
) -> tuple[np.ndarray, np.ndarray]:
    """The k nearest other rows of every row, by products on one device.

    Args:
        features (Features): N rows.
        k (int): Number of neighbours, itself not counted; 1 <= k < N.
        device (str | torch.device, optional): Defaults to CUDA where there is
            any, else the CPU.
        precision (str): 'float32' (exact), 'tf32', 'float16' or 'bfloat16':
            the number format of the products. Defaults to 'float32'.
        chunk_bytes (int): Memory for one chunk of products. Defaults to 256 MiB.
        rerank (int, optional): Candidates a row of which distances are computed
            again in float32; at least k. Defaults to none with 'float32', to
            k + 32 otherwise.

    Returns:
        tuple[np.ndarray, np.ndarray]: Squared distances (N, k) float32,
        ascending, and indices (N, k) int32.
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
    low = x.to(_DTYPES[precision])
    chunk = max(1, min(n, chunk_bytes // (4 * n)))
    distances = np.empty((n, k), np.float32)
    indices = np.empty((n, k), np.int32)
    progress = Progress('Neighbours by torch', n)
    with float32_products(place.type, tf32=precision == 'tf32'):
        for start in range(0, n, chunk):
            stop = min(start + chunk, n)
            d2 = (low[start:stop] @ low.T).float()
            d2.mul_(-2).add_(offset).add_(offset[start:stop, None])
            own = torch.arange(start, stop, device=place)[:, None]
            d2.scatter_(1, own, -1.0)
            near = d2.topk(width, dim=1, largest=False).indices
            near = near[near != own].view(stop - start, width - 1)
            near = near.sort(dim=1).values  # a stable sort then breaks ties
            if rerank > k:
                products = torch.bmm(x[near], x[start:stop, :, None]).squeeze(2)
                exact = offset[near] + offset[start:stop, None] - 2 * products
            else:
                exact = d2.gather(1, near)
            exact, order = exact.clamp_(min=0).sort(dim=1, stable=True)
            distances[start:stop] = exact[:, :k].cpu().numpy()
            indices[start:stop] = near.gather(1, order)[:, :k].cpu().numpy()
            progress.update(stop - start)
    return distances, indices
