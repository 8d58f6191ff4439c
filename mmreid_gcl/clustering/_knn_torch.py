# SPDX-License-Identifier: Apache-2.0
"""Neighbours by chunked matrix products and ``topk`` on any torch device."""

import warnings

import numpy as np
import torch
from mmengine import dist

from mmreid_gcl.parallel import Progress
from mmreid_gcl.precision import float32_products
from mmreid_gcl.processes import (
    gather_rows,
    on_all_ranks,
    others_help,
    shard,
    spread_rows,
    together,
)

from .features import Features
from .recall import log_recall

_DTYPES = dict(
    float32=torch.float32,
    tf32=torch.float32,
    float16=torch.float16,
    bfloat16=torch.bfloat16,
)
_BLOCK = 65536


def torch_search(
    features: Features,
    k: int,
    device: str | torch.device | None = None,
    precision: str = 'float32',
    chunk_bytes: int = 1 << 28,
    rerank: int | None = None,
    recall_sample: int = 1000,
    seed: int = 0,
    all_ranks: bool | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """The k nearest other rows of every row, by products on one device.

    ``device`` is by default CUDA where there is any. ``precision`` is the number format
    of the products: 'float32' (exact), 'tf32', 'float16' or 'bfloat16'. Of ``rerank``
    candidates a row, by default k + 32 unless exact, distances are computed again in
    float32. A chunk of products has ``chunk_bytes``. Recall is measured on
    ``recall_sample`` rows (0: none), unless exact.

    Where other ranks wait for rank 0, each searches for its share of the rows on its
    own device: by default on GPUs, unless ``device`` names one of several;
    ``all_ranks`` decides. Every rank holds all features on its device, and computes
    the same products as one alone would, so that one kind of device gives the same
    bits.
    """
    if precision not in _DTYPES:
        raise ValueError(
            f'precision must be one of {sorted(_DTYPES)}, got {precision!r}'
        )
    if device is None:
        device = 'cuda' if torch.cuda.is_available() else 'cpu'
    place = torch.device(device)
    if all_ranks is None:
        all_ranks = place.type == 'cuda' and place.index is None
    settings: tuple = (k, precision, chunk_bytes, rerank)
    if all_ranks and others_help():
        shape = features.x.shape
        distances, indices = on_all_ranks(
            _search_together, shape, place.type, settings, own=(features,)
        )
    else:
        x, offset = on_device(features, place)
        search = RowSearch(x, offset, *settings)
        distances, indices = search.rows(0, len(features))
    if precision != 'float32':
        log_recall(features, indices, recall_sample, seed, f'Neighbours in {precision}')
    return distances, indices


def _search_together(
    shape: tuple[int, int],
    device: str,
    settings: tuple,
    features: Features | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """On all ranks; rank 0 has the features and gets the neighbours."""
    n = shape[0]
    rank, world_size = dist.get_dist_info()

    def prepare() -> tuple[torch.Tensor, torch.Tensor]:
        if features is not None:
            return on_device(features, torch.device(device))
        return torch.empty(shape, device=device), torch.empty(n, device=device)

    x, offset = together(prepare)
    spread_rows(x)
    spread_rows(offset)
    search = together(lambda: RowSearch(x, offset, *settings))
    # whole chunks, so that products have the shapes that they have on one rank
    chunks = -(-n // search.chunk)
    shares = [shard(chunks, other, world_size) for other in range(world_size)]
    ends = [min(n, share.stop * search.chunk) for share in shares]
    starts = [0, *ends[:-1]]
    found = together(lambda: search.rows(starts[rank], ends[rank]))
    counts = [stop - start for start, stop in zip(starts, ends)]
    distances, indices = (gather_rows(torch.from_numpy(a), counts) for a in found)
    if distances is None or indices is None:  # not rank 0
        return found
    return distances.numpy(), indices.numpy()


def on_device(
    features: Features, place: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows (N, C) and their offsets (N,); on a CPU where they lie, without a copy."""
    offset = torch.from_numpy(features.offset).to(place)
    with warnings.catch_warnings():
        # a memory map opened for reading; nothing here writes to it
        warnings.filterwarnings('ignore', message='.*not writable')
        if place.type == 'cpu':
            return torch.from_numpy(features.rows()), offset
        x = torch.empty(features.x.shape, device=place)
        for start in range(0, len(x), _BLOCK):
            some = slice(start, start + _BLOCK)
            x[some] = torch.from_numpy(features.rows(some))
    return x, offset


class RowSearch:
    """All rows on one device, and the search for the neighbours of some of them.

    ``x`` and ``offset`` are those of :func:`on_device`, the rest is as in
    :func:`torch_search`. Rows are searched ``chunk`` at a time.
    """

    def __init__(
        self,
        x: torch.Tensor,
        offset: torch.Tensor,
        k: int,
        precision: str = 'float32',
        chunk_bytes: int = 1 << 28,
        rerank: int | None = None,
    ) -> None:
        if rerank is None:
            rerank = k if precision == 'float32' else k + 32
        self.x, self.offset = x, offset
        self.k, self.rerank = k, max(rerank, k)
        self.tf32 = precision == 'tf32'
        self.chunk_bytes = chunk_bytes
        self.chunk = max(1, min(len(x), chunk_bytes // (4 * len(x))))
        self.low, self.scale = _low(x, _DTYPES[precision])

    def rows(self, start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
        """Neighbours of rows ``start`` to ``stop``: (n, k) float32 and int32."""
        distances = np.empty((stop - start, self.k), np.float32)
        indices = np.empty((stop - start, self.k), np.int32)
        progress = Progress('Neighbours by torch', stop - start)
        for begin in range(start, stop, self.chunk):
            end = min(begin + self.chunk, stop)
            found = slice(begin - start, end - start)
            exact, near = self._some(begin, end)
            distances[found] = exact.cpu().numpy()
            indices[found] = near.cpu().numpy()
            progress.update(end - begin)
        return distances, indices

    def _some(self, start: int, stop: int) -> tuple[torch.Tensor, torch.Tensor]:
        place = self.x.device
        width = min(self.rerank + 1, len(self.x))  # the row itself is among them
        with float32_products(place.type, tf32=self.tf32):
            d2 = (self.low[start:stop] @ self.low.T).float()
        d2.mul_(-2 * self.scale).add_(self.offset).add_(self.offset[start:stop, None])
        own = torch.arange(start, stop, device=place)[:, None]
        # before all others, also those that rounding made negative
        d2.scatter_(1, own, -torch.inf)
        near = d2.topk(width, dim=1, largest=False).indices
        near = near[near != own].view(stop - start, width - 1)
        near = near.sort(dim=1).values  # a stable sort then breaks ties
        if self.rerank > self.k:
            exact = _again(self.x, self.offset, start, near, self.chunk_bytes)
        else:
            exact = d2.gather(1, near)
        exact, order = exact.clamp_(min=0).sort(dim=1, stable=True)
        return exact[:, : self.k], near.gather(1, order)[:, : self.k]


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
