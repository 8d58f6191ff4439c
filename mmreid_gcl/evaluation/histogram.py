# SPDX-License-Identifier: Apache-2.0
"""A baseline without learning: colour histograms of horizontal stripes.

Descriptors of this kind were the usual baseline before learned ones; see Gray
and Tao, "Viewpoint Invariant Pedestrian Recognition with an Ensemble of
Localized Features", ECCV 2008.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from .ranking import rank_from_similarity

BINS = (8, 8, 8)
STRIPES = 6
WIDTH = STRIPES * BINS[0] * BINS[1] * BINS[2]


def hsv_stripe_histogram(image: np.ndarray) -> np.ndarray:
    """Joint histogram of hue, saturation and value on each of six stripes.

    Args:
        image (np.ndarray): (h, w, 3) uint8, blue green red; six rows at least.

    Returns:
        np.ndarray: (3072,) float32: 8 x 8 x 8 bins of the top stripe (hue
        varies slowest), then of the next. Each stripe sums to 1/6, the whole
        to 1.

    Raises:
        ValueError: If the image has another form.
    """
    image = np.asarray(image)
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise ValueError(
            'An image must be (height, width, 3) of uint8, got '
            f'{image.shape} of {image.dtype}.'
        )
    if image.shape[0] < STRIPES or image.shape[1] < 1:
        raise ValueError(
            f'An image needs {STRIPES} rows and a column at least, got {image.shape}.'
        )
    hsv = cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_BGR2HSV_FULL)
    # All three channels run from 0 to 255: the upper three bits are the bin.
    index = hsv.astype(np.int64) >> 5
    index = (index[..., 0] * BINS[1] + index[..., 1]) * BINS[2] + index[..., 2]
    edges = np.arange(STRIPES + 1) * len(image) // STRIPES
    size = WIDTH // STRIPES
    result = np.empty((STRIPES, size), np.float32)
    for i in range(STRIPES):
        part = index[edges[i] : edges[i + 1]]
        result[i] = np.bincount(part.ravel(), minlength=size) / (STRIPES * part.size)
    return result.ravel()


def hellinger_distance(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """``sqrt(1 - sum_i sqrt(p_i q_i))``, also named after Bhattacharyya.

    Of rows (n, d) and (m, d), not negative, each summing to 1; (n, m), 0 to 1.
    """
    return np.sqrt(np.maximum(0, 1 - np.sqrt(first) @ np.sqrt(second).T))


def chi_square_distance(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """``1/2 sum_i (p_i - q_i)^2 / (p_i + q_i)``, as :func:`hellinger_distance`.

    Empty bins are left out.
    """
    # For sums of 1 this is 1 - 2 sum_i p_i q_i / (p_i + q_i).
    return 1 - 2 * _over_shared(first, second, lambda p, q: p * q / (p + q))


def intersection_distance(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """``1 - sum_i min(p_i, q_i)``, as :func:`hellinger_distance`.

    Half the L1 distance, by Swain and Ballard 1991.
    """
    return 1 - _over_shared(first, second, np.minimum)


#: The three distances of the baseline.
DISTANCES: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    'hellinger': hellinger_distance,
    'chi_square': chi_square_distance,
    'intersection': intersection_distance,
}


def _over_shared(first: np.ndarray, second: np.ndarray, term: Callable) -> np.ndarray:
    """Sum of a term that is 0 where ``first`` is 0: most bins are empty."""
    first, second = np.asarray(first), np.asarray(second)
    by_bin = np.ascontiguousarray(second.T)
    result = np.empty((len(first), len(second)), np.result_type(first, second))
    for row, out in zip(first, result):
        filled = np.flatnonzero(row)
        np.sum(term(row[filled, None], by_bin[filled]), axis=0, out=out)
    return result


def evaluate_histograms(
    query: np.ndarray,
    query_pids: np.ndarray,
    query_camids: np.ndarray,
    gallery: np.ndarray,
    gallery_pids: np.ndarray,
    gallery_camids: np.ndarray,
) -> dict[str, dict[str, float]]:
    """Retrieval by histograms (Q, d) and (G, d) under each of the three distances.

    The protocol, with its junk and its errors, is that of
    :func:`~mmreid_gcl.evaluation.ranking.evaluate_ranking`. The result has ``mAP``,
    ``mINP``, ``R1``, ``R5`` and ``R10`` in percent for 'hellinger', 'chi_square' and
    'intersection', best mAP first.
    """
    ids = query_pids, query_camids, gallery_pids, gallery_camids
    scores = {}
    for name, distance in DISTANCES.items():

        def similarity(rows: np.ndarray, distance: Callable = distance) -> np.ndarray:
            return -distance(query[rows], gallery)

        # Large chunks: the distances turn the gallery over once for each.
        scores[name] = rank_from_similarity(similarity, *ids, chunk_size=1024)
    return dict(sorted(scores.items(), key=lambda item: -item[1]['mAP']))
