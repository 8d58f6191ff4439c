# SPDX-License-Identifier: Apache-2.0
"""Neighbours by faiss: exact on CPU and GPU, approximate by IVF and HNSW."""

import numpy as np

from mmreid_gcl.parallel import Progress

from .features import Features
from .recall import log_recall

# Rows handed to faiss at once: bounds the memory of a search and of a scaled
# copy, and is what progress is reported by.
_CHUNK = 16384


def _faiss():
    try:
        import faiss
    except ImportError as error:
        raise ImportError(
            'this neighbour search needs faiss: pip install faiss-cpu (or faiss-gpu)'
        ) from error
    return faiss


def _fill(index, features: Features, name: str) -> None:
    progress = Progress(f'{name}: adding', len(features))
    for start in range(0, len(features), _CHUNK):
        rows = features.rows(slice(start, start + _CHUNK))
        index.add(rows)
        progress.update(len(rows))


def _search(
    index, features: Features, k: int, name: str
) -> tuple[np.ndarray, np.ndarray]:
    n = len(features)
    distances = np.empty((n, k), np.float32)
    indices = np.empty((n, k), np.int32)
    progress = Progress(f'{name}: searching', n)
    for start in range(0, n, _CHUNK):
        part = slice(start, min(start + _CHUNK, n))
        squared, near = index.search(features.rows(part), k + 1)
        distances[part], indices[part] = without_self(squared, near, start)
        progress.update(part.stop - start)
    return distances, indices


def without_self(
    distances: np.ndarray, indices: np.ndarray, start: int
) -> tuple[np.ndarray, np.ndarray]:
    """Drop every row itself from its list, or the last entry if it is not there.

    Of (n, k + 1) ascending distances and indices of the rows from ``start`` on, (n, k)
    float32 and int32 stay, equal distances by index. Where too little was found (-1),
    the row itself stands at an infinite distance: it adds nothing to a neighbourhood.
    """
    n, width = indices.shape
    own = np.arange(start, start + n)[:, None]
    missing = indices < 0
    distances = np.where(missing, np.inf, np.maximum(distances, 0))
    indices = np.where(missing, own, indices)
    drop = (indices == own) & ~missing
    drop[~drop.any(axis=1), -1] = True
    keep = ~drop
    distances = distances[keep].reshape(n, width - 1)
    indices = indices[keep].reshape(n, width - 1)
    order = np.lexsort((indices, distances), axis=1)
    return (
        np.take_along_axis(distances, order, 1).astype(np.float32),
        np.take_along_axis(indices, order, 1).astype(np.int32),
    )


def flat_search(features: Features, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Exact search by ``faiss.IndexFlatL2`` on all cores; faiss keeps a copy."""
    index = _faiss().IndexFlatL2(features.x.shape[1])
    _fill(index, features, 'faiss')
    return _search(index, features, k, 'faiss')


def gpu_search(
    features: Features, k: int, device: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Exact search by ``faiss.IndexFlatL2`` on the GPU of number ``device``."""
    faiss = _faiss()
    if not hasattr(faiss, 'StandardGpuResources') or faiss.get_num_gpus() == 0:
        raise RuntimeError(
            "backend='faiss-gpu' needs a faiss with GPU support and a GPU: "
            "pip install faiss-gpu instead of faiss-cpu, or use backend='torch'"
        )
    index = faiss.index_cpu_to_gpu(
        faiss.StandardGpuResources(), device, faiss.IndexFlatL2(features.x.shape[1])
    )
    _fill(index, features, 'faiss-gpu')
    return _search(index, features, k, 'faiss-gpu')


def ivf_search(
    features: Features,
    k: int,
    nlist: int | None = None,
    nprobe: int | None = None,
    quantizer: str = 'Flat',
    seed: int = 0,
    recall_sample: int = 1000,
) -> tuple[np.ndarray, np.ndarray]:
    """Approximate search by an inverted file (``faiss.index_factory``).

    ``nlist`` cells, by default 4 * sqrt(N) but at most N / 39, what faiss wants to
    train on, hold ``quantizer`` as in faiss ('SQfp16', 'PQ64x8', ...). A search looks
    into ``nprobe``, by default nlist / 16 but at least 8. ``seed`` is of the training
    and of the ``recall_sample`` rows (0: none) on which recall is measured.
    """
    faiss = _faiss()
    n, c = features.x.shape
    if nlist is None:
        nlist = int(max(1, min(4 * n**0.5, n // 39)))
    if nprobe is None:
        nprobe = max(8, nlist // 16)
    nprobe = min(nprobe, nlist)
    index = faiss.index_factory(c, f'IVF{nlist},{quantizer}')
    ivf = faiss.extract_index_ivf(index)
    ivf.cp.seed = seed
    ivf.cp.max_points_per_centroid = 64
    ivf.nprobe = nprobe
    rng = np.random.default_rng(seed)
    sample = rng.choice(n, min(n, 64 * nlist), replace=False)
    index.train(features.rows(np.sort(sample)))
    name = f'faiss IVF{nlist},{quantizer} nprobe={nprobe}'
    _fill(index, features, name)
    result = _search(index, features, k, name)
    log_recall(features, result[1], recall_sample, seed, name)
    return result


def hnsw_search(
    features: Features,
    k: int,
    m: int = 32,
    ef_construction: int = 80,
    ef_search: int = 128,
    seed: int = 0,
    recall_sample: int = 1000,
) -> tuple[np.ndarray, np.ndarray]:
    """Approximate search by a navigable graph (``faiss.IndexHNSWFlat``).

    The graph depends on the order in which threads insert: use 'ivf' where the same
    result in every run matters. Nodes have ``m`` links; ``ef_construction`` candidates
    count while building and ``ef_search``, at least k + 1, while searching. ``seed`` is
    of the ``recall_sample`` rows (0: none) on which recall is measured.
    """
    index = _faiss().IndexHNSWFlat(features.x.shape[1], m)
    index.hnsw.efConstruction = ef_construction
    index.hnsw.efSearch = max(ef_search, k + 1)
    name = f'faiss HNSW{m}'
    _fill(index, features, name)
    result = _search(index, features, k, name)
    log_recall(features, result[1], recall_sample, seed, name)
    return result
