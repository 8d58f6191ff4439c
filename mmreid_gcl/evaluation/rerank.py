# SPDX-License-Identifier: Apache-2.0
"""k-reciprocal re-ranking at test time."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from mmreid_gcl.parallel import num_threads

from ..clustering.features import as_pair, prepare_features, unit_rows
from ..clustering.k_reciprocal import check_parameters, encode
from ..clustering.knn import squared_knn
from ._rank_kernels import plus_min_rows
from .ranking import default_chunk


def k_reciprocal_rerank(
    query_features: np.ndarray | Tensor,
    gallery_features: np.ndarray | Tensor,
    k1: int = 20,
    k2: int = 6,
    lambda_value: float = 0.3,
    knn: dict | None = None,
) -> Callable[[np.ndarray], np.ndarray]:
    """Similarities re-ranked by k-reciprocal encoding.

    Zhong et al., *Re-ranking Person Re-identification with k-reciprocal
    Encoding*, CVPR 2017: ``d* = (1 - lambda) d_J + lambda d`` (equation 12).
    Query and gallery together are the N images among which neighbours are
    found. ``d_J`` is the Jaccard distance of
    :func:`~mmreid_gcl.clustering.k_reciprocal_jaccard`, in its convention: k1
    counts the image itself. ``d`` is the squared Euclidean distance of unit
    vectors over the query's largest to any of the N images, as in the authors'
    code. No label is used; leave junk images out of the gallery before.

    Neither a Q x G nor a Q x N array is made: the result computes the rows it
    is asked for, in parts. Everything is in float32 and, but for the neighbour search,
    on the CPU.

    Args:
        query_features (np.ndarray | Tensor): (Q, C), any real dtype.
        gallery_features (np.ndarray | Tensor): (G, C).
        k1 (int): Neighbours to encode. Defaults to 20.
        k2 (int): Neighbours to average encodings over. Defaults to 6.
        lambda_value (float): Weight of the original distance, in [0, 1].
            Defaults to 0.3.
        knn (dict, optional): Options of
            :func:`~mmreid_gcl.clustering.knn_search`, such as
            ``dict(backend='torch', device='cuda')``. Defaults to None: chosen
            by size and hardware.

    Returns:
        Callable: From query indices (n,) to ``-d*`` (n, G), float32: what
        :func:`~mmreid_gcl.evaluation.rank_from_similarity` takes.

    Raises:
        ValueError: If k1, k2 or lambda_value is out of its range, shapes
            disagree, or a feature is a zero vector or holds NaN or Inf.

    Examples:
        >>> reranked = k_reciprocal_rerank(query, gallery)
        >>> rank_from_similarity(reranked, *ids)
    """
    check_parameters(k1, k2, 0.5)
    if not 0 <= lambda_value <= 1:
        raise ValueError(f'lambda_value must be in [0, 1], got {lambda_value}.')
    query_features, gallery_features = as_pair(query_features, gallery_features)
    queries, gallery = len(query_features), len(gallery_features)
    images = np.empty((queries + gallery, query_features.shape[1]), np.float32)
    kwargs = dict(dtype=torch.float32, device='cpu')
    unit_rows(query_features, 'query_features', out=images[:queries], **kwargs)
    unit_rows(gallery_features, 'gallery_features', out=images[queries:], **kwargs)

    features = prepare_features(images, unit=True)
    squared, neighbours = squared_knn(features, max(k1, k2), **(knn or {}))
    encoding = encode(features, squared, neighbours, k1, k2)
    return _Reranked(images, encoding, queries, lambda_value)


class _Reranked:
    """Rows of ``-d*``, computed when asked for."""

    def __init__(self, images, encoding, queries: int, lambda_value: float) -> None:
        self.images = images
        self.lambda_value = lambda_value
        self.queries = queries
        self.of_query = encoding[:queries]
        # By columns: which gallery images have an entry there.
        self.of_gallery = encoding[queries:].tocsc()

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        rows = np.asarray(rows)
        original = np.empty((len(rows), len(self.images) - self.queries), np.float32)
        # the largest distance is one to any image, and queries may be many
        step = default_chunk(len(self.images), 4, torch.device('cpu'))
        for start in range(0, len(rows), step):
            part = slice(start, start + step)
            cosines = self.images[rows[part]] @ self.images.T
            largest = 2 - 2 * cosines.min(axis=1, keepdims=True)
            original[part] = 2 - 2 * cosines[:, self.queries :]
            original[part] /= np.maximum(largest, np.finfo(np.float32).tiny)
        shared = self._overlap(rows)
        jaccard = np.maximum(0, 1 - shared / (2 - shared))
        weight = np.float32(self.lambda_value)
        return -((1 - weight) * jaccard + weight * original)

    def _overlap(self, rows: np.ndarray) -> np.ndarray:
        """``s_qg`` of the rows with all of the gallery, (n, G)."""
        left, right = self.of_query, self.of_gallery
        shared = np.zeros((len(rows), right.shape[0]), np.float32)
        arrays = (left.indptr, left.indices, left.data)
        arrays += (right.indptr, right.indices, right.data)
        threads = max(1, min(num_threads(), len(rows)))
        with ThreadPoolExecutor(threads) as pool:
            jobs = [
                pool.submit(plus_min_rows, rows, *arrays, shared, first, threads)
                for first in range(threads)
            ]
            for job in jobs:
                job.result()
        return shared
