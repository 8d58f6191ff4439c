# SPDX-License-Identifier: Apache-2.0
"""Average query expansion."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ..clustering.features import feature_dtype, unit_rows
from .ranking import cosine_similarity, default_chunk


def average_query_expansion(
    query_features: np.ndarray | Tensor,
    gallery_features: np.ndarray | Tensor,
    k: int = 5,
) -> np.ndarray | Tensor:
    """Replace every query by the mean of itself and its nearest gallery images.

    Average query expansion of Chum et al., *Total Recall*, ICCV 2007, on unit
    vectors: ``q' = L2(q + sum of the k most similar gallery features)``. It
    uses no labels, so leave junk images out of the gallery before.

    Args:
        query_features (np.ndarray | Tensor): (Q, C), any real dtype.
        gallery_features (np.ndarray | Tensor): (G, C).
        k (int): Gallery images in the mean, at most G. 0 only normalises.
            Defaults to 5.

    Returns:
        np.ndarray | Tensor: (Q, C), unit length, float64 if an input is, else
        float32; a tensor on the gallery's device if ``query_features`` is one.

    Raises:
        ValueError: If k is not in 0..G, shapes disagree, or a feature is a zero
            vector or holds NaN or Inf.
    """
    if k != int(k) or not 0 <= k <= len(gallery_features):
        raise ValueError(
            f'k must be in 0..{len(gallery_features)} (gallery images), got {k}.'
        )
    dtype = feature_dtype(query_features, gallery_features)
    gallery = unit_rows(gallery_features, 'gallery_features', dtype=dtype)
    query = unit_rows(
        query_features, 'query_features', dtype=dtype, device=gallery.device
    )
    similarity = cosine_similarity(query, gallery)
    chunk = default_chunk(len(gallery), gallery.element_size(), gallery.device)
    result = torch.empty_like(query)
    for start in range(0, len(query), chunk):
        rows = np.arange(start, min(start + chunk, len(query)))
        nearest = torch.as_tensor(similarity(rows)).topk(int(k), dim=1).indices
        total = query[rows[0] : rows[-1] + 1] + gallery[nearest].sum(dim=1)
        result[rows[0] : rows[-1] + 1] = total
    result = unit_rows(result, 'expanded queries')
    return result if isinstance(query_features, Tensor) else result.cpu().numpy()
