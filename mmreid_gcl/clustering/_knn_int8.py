# SPDX-License-Identifier: Apache-2.0
"""Self-search by products of 8-bit integers, checked in float32.

A CPU with VNNI multiplies bytes about four times as fast as floats. All pairs
are compared, so recall does not depend on how the data lie; what can be lost is
a neighbour whose rounded product falls behind ``extra`` others.
"""

import numpy as np
import torch

from mmreid_gcl.compiled import jit
from mmreid_gcl.parallel import map_row_ranges

from ._knn_symmetric import sweep
from .features import Features, dot
from .recall import log_recall


def int8_search(
    features: Features,
    k: int,
    extra: int | None = None,
    block: int = 4096,
    seed: int = 0,
    recall_sample: int = 1000,
) -> tuple[np.ndarray, np.ndarray]:
    """The k nearest other rows of every row, nearly always.

    Rows are centred, which leaves distances as they are; turned by a random rotation of
    ``seed``, so that no coordinate is much larger than others; and rounded to bytes.
    The nearest k + ``extra`` (by default k) by rounded products then get their
    distances from the features themselves. ``recall_sample`` rows (0: none) measure
    recall.
    """
    n = len(features)
    codes, step, offset = _encode(features, seed)
    wide = min(n - 1, k + (k if extra is None else extra))

    side = min(n, max(block, wide + 1))
    buffer = torch.empty(side * side, dtype=torch.int32)

    def products(i0, i1, j0, j1):
        shape = (i1 - i0, j1 - j0)
        out = buffer[: shape[0] * shape[1]].view(shape)
        return torch._int_mm(codes[i0:i1], codes[j0:j1].T, out=out).numpy()

    scale = np.full(n, step, np.float32)
    _, candidates = sweep(products, scale, offset, wide, block, '8-bit neighbours')
    squared = np.empty((n, wide), np.float32)
    map_row_ranges(
        lambda a, b: _exact_rows(
            features.x, features.scale, features.offset, candidates, squared, a, b
        ),
        n,
        'Distances of candidates',
    )
    indices = np.empty((n, k), np.int32)
    distances = np.empty((n, k), np.float32)
    for a in range(0, n, 65536):
        part = slice(a, a + 65536)
        order = np.lexsort((candidates[part], squared[part]), axis=1)[:, :k]
        indices[part] = np.take_along_axis(candidates[part], order, 1)
        distances[part] = np.take_along_axis(squared[part], order, 1)
    log_recall(features, indices, recall_sample, seed, '8-bit neighbours')
    return distances, indices


def _encode(features: Features, seed: int) -> tuple[torch.Tensor, float, np.ndarray]:
    """Bytes (N, C), what one unit of them is, and squared lengths (N,)."""
    n, c = features.x.shape
    # without VNNI, products of full bytes may overflow in 16-bit sums
    levels = 127 if torch.cpu._is_vnni_supported() else 63
    generator = torch.Generator().manual_seed(seed)
    rotation = torch.linalg.qr(torch.randn(c, c, generator=generator))[0]
    mean = np.zeros(c)
    chunks = [slice(a, min(a + 16384, n)) for a in range(0, n, 16384)]
    for part in chunks:
        mean += features.rows(part).sum(0, dtype=np.float64)
    mean = (mean / n).astype(np.float32)
    energy = sum(
        float(np.square(features.rows(part) - mean).sum(dtype=np.float64))
        for part in chunks
    )
    # rotated coordinates are close to normal: 4.5 deviations are not cut off
    step = max(4.5 * (energy / (n * c)) ** 0.5 / levels, 1e-30)
    codes = torch.empty((n, c), dtype=torch.int8)
    offset = np.empty(n, np.float32)
    for part in chunks:
        rows = torch.from_numpy(features.rows(part) - mean) @ rotation
        offset[part] = rows.square().sum(1).numpy()
        codes[part] = (rows / step).round_().clamp_(-levels, levels).to(torch.int8)
    return codes, step, offset


@jit
def _exact_rows(x, scale, offset, candidates, squared, start, stop):
    for i in range(start, stop):
        for p in range(candidates.shape[1]):
            j = candidates[i, p]
            product = dot(x[i], x[j]) * scale[i] * scale[j]
            d = offset[i] + offset[j] - np.float32(2) * product
            squared[i, p] = max(d, np.float32(0))
