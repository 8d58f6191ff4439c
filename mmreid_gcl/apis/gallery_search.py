# SPDX-License-Identifier: Apache-2.0
"""Exact and approximate search among embeddings that come and go."""

from __future__ import annotations

import faiss
import numpy as np

from mmreid_gcl.clustering.shortlist import Shortlist

#: Of each part of a :class:`Shortlist`: two parts held 99.5 % of the first ten
#: of a million embeddings of 512 values.
_CANDIDATES = 2000


class Vectors:
    """Rows of embeddings, of which the most similar to a query are found.

    ``features`` are (N, C), of unit length; a ``ValueError`` if they are not finite.
    """

    def __init__(self, features: np.ndarray) -> None:
        features = _finite_rows(features)
        self._index = faiss.IndexFlatIP(features.shape[1])
        self._index.add(features)
        self._shortlist: Shortlist | None = None

    def __len__(self) -> int:
        return self._index.ntotal

    @property
    def dim(self) -> int:
        """C, the width."""
        return self._index.d

    @property
    def features(self) -> np.ndarray:
        """(N, C) float32, a copy."""
        return self._index.reconstruct_n(0, len(self))

    def serialised(self) -> memoryview:
        """As a flat index of faiss."""
        return memoryview(faiss.serialize_index(self._index))

    def add(self, features: np.ndarray) -> None:
        """Append (n, C) rows."""
        self._index.add(features)
        if self._shortlist is not None:
            self._shortlist.add(features)

    def remove(self, rows: np.ndarray) -> None:
        """Remove rows; those behind them move up."""
        self._index.remove_ids(faiss.IDSelectorBatch(rows))
        if self._shortlist is not None:
            self._shortlist.remove(rows)

    def best(
        self,
        queries: np.ndarray,
        topk: int,
        rows: np.ndarray | None = None,
        groups: np.ndarray | None = None,
        exact: bool = True,
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        """Scores and rows for each query, best first, of equal ones the earlier row.

        Among ``rows`` only, if given; with (N,) ``groups`` the best of each alone.
        Unless ``exact``, some may be missing.
        """
        count = len(self) if rows is None else len(rows)
        nearest = self._nearest if exact else self._likely_nearest
        take = min(topk, count)
        while True:
            nearby = nearest(queries, take, rows)
            ranked = [_ranked(scores, near, groups, topk) for scores, near in nearby]
            if take == count or all(len(best) == topk for _, best in ranked):
                return ranked
            take = min(4 * take, count)  # several images of one group were found

    def _nearest(
        self, queries: np.ndarray, take: int, rows: np.ndarray | None
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        params = None
        if rows is not None:
            params = faiss.SearchParameters(sel=faiss.IDSelectorBatch(rows))
        return list(zip(*self._index.search(queries, take, params=params)))

    def _likely_nearest(
        self, queries: np.ndarray, take: int, rows: np.ndarray | None
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        if self._shortlist is None:
            self._shortlist = Shortlist(self.features)
        found = []
        for query in queries:
            near = self._shortlist(query, max(_CANDIDATES, 4 * take), rows)
            scores = self._index.reconstruct_batch(near) @ query
            found.append((scores, near))
        return found


def queries_of(features: np.ndarray, dim: int, topk: int) -> np.ndarray:
    """(Q, C) queries of the width ``dim``; a ``ValueError`` if they cannot be used."""
    queries = np.atleast_2d(np.ascontiguousarray(features, dtype=np.float32))
    if queries.shape[1] != dim:
        raise ValueError(
            f'The query has {queries.shape[1]} values, the gallery {dim}: '
            'they come from different models.'
        )
    bad = ~np.isfinite(queries).all(axis=1)
    if bad.any():
        raise ValueError(
            f'Query {int(bad.argmax())} holds NaN or Inf: the model that made it '
            'is damaged or overflowed.'
        )
    if topk < 1:
        raise ValueError(f'topk must be at least 1, got {topk}.')
    return queries


def _ranked(
    scores: np.ndarray, rows: np.ndarray, groups: np.ndarray | None, topk: int
) -> tuple[np.ndarray, np.ndarray]:
    """Scores and rows, best first; with ``groups`` the best of each alone."""
    order = np.lexsort((rows, -scores))
    if groups is not None:
        first = np.unique(groups[rows[order]], return_index=True)[1]
        order = order[np.sort(first)]
    order = order[:topk]
    return scores[order], rows[order]


def _finite_rows(features: np.ndarray) -> np.ndarray:
    features = np.ascontiguousarray(features, dtype=np.float32)
    if features.ndim != 2 or not features.shape[1]:
        raise ValueError(
            f'GalleryIndex: expected features (N, C), got the shape {features.shape}.'
        )
    if not np.isfinite(features).all():
        raise ValueError('GalleryIndex: features must be finite numbers.')
    return features
