# SPDX-License-Identifier: Apache-2.0
"""What a query finds first, by the rules of the evaluation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Retrieved:
    """The beginning of a query's ranking.

    Attributes:
        indices (np.ndarray): (k,) gallery images, the best first.
        scores (np.ndarray): (k,) their similarities.
        matches (np.ndarray | None): (k,) bool, which have the query's
            identity; None if identities are not known.
        ap (float | None): Average precision of the *whole* ranking, 0 to 1;
            None without a valid match.
    """

    indices: np.ndarray
    scores: np.ndarray
    matches: np.ndarray | None = None
    ap: float | None = None


def top_gallery(
    similarity: np.ndarray,
    pid: int | None = None,
    camid: int | None = None,
    gallery_pids: np.ndarray | None = None,
    gallery_camids: np.ndarray | None = None,
    topk: int = 10,
) -> Retrieved:
    """Rank the gallery for one query.

    Gallery images with the identity and the camera of the query, and junk
    (pid -1), are ignored; of equally similar ones the smaller index comes
    first: as in :func:`~mmreid_gcl.evaluation.evaluate_ranking`.

    Args:
        similarity (np.ndarray): (G,), larger is more similar.
        pid (int, optional): Identity of the query. None or -1: not known, and
            nothing is ignored.
        camid (int, optional): Its camera.
        gallery_pids (np.ndarray, optional): (G,) identities.
        gallery_camids (np.ndarray, optional): (G,) cameras.
        topk (int): How many to name. Defaults to 10.

    Returns:
        Retrieved: At most ``topk`` images.

    Raises:
        ValueError: If shapes differ, or a similarity is NaN.
    """
    similarity = np.asarray(similarity)
    for name, values in (
        ('gallery_pids', gallery_pids),
        ('gallery_camids', gallery_camids),
    ):
        if values is not None and np.shape(values) != similarity.shape:
            raise ValueError(
                f'top_gallery: {name} has the shape {np.shape(values)}, similarity '
                f'{similarity.shape}.'
            )
    if similarity.ndim != 1 or np.isnan(similarity).any():
        raise ValueError(
            'top_gallery: expected the similarities of one query, (G,), without NaN; '
            f'got the shape {similarity.shape}.'
        )
    known = pid is not None and pid >= 0 and gallery_pids is not None
    ranked = np.argsort(-similarity, kind='stable')
    if not known:
        first = ranked[:topk]
        return Retrieved(first, similarity[first])
    gallery_pids = np.asarray(gallery_pids)
    valid = gallery_pids != -1
    if camid is not None and gallery_camids is not None:
        valid &= (gallery_pids != pid) | (np.asarray(gallery_camids) != camid)
    ranked = ranked[valid[ranked]]
    matches = gallery_pids[ranked] == pid
    ranks = np.flatnonzero(matches) + 1
    found = np.arange(1, len(ranks) + 1)
    ap = float((found / ranks).mean()) if len(ranks) else None
    first = ranked[:topk]
    return Retrieved(first, similarity[first], matches[:topk], ap)
