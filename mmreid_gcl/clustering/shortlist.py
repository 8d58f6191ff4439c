# SPDX-License-Identifier: Apache-2.0
"""Candidates for a nearest-neighbour search, from one bit a coordinate.

Rows are turned by a random rotation and kept by signs and two numbers (RaBitQ, Gao and
Long, SIGMOD 2024, by faiss): a scan reads a thirtieth of the memory that float32 rows
have. Whoever searches compares the candidates by the rows themselves.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import faiss
import numpy as np

from mmreid_gcl.parallel import num_threads

#: Rows below which more are added to the last part.
_SMALL = 131072


class Shortlist:
    """The codes of rows that may be added and removed, in parts for all cores.

    Args:
        features (np.ndarray): (N, C) float32.
        seed (int): Of the rotation. Defaults to 0.
    """

    def __init__(self, features: np.ndarray, seed: int = 0) -> None:
        self._threads = num_threads()
        normal = np.random.default_rng(seed).standard_normal((features.shape[1],) * 2)
        self._rotation = np.linalg.qr(normal)[0].astype(np.float32)
        self._parts: list[faiss.IndexRaBitQ] = []
        size = max(_SMALL, -(-len(features) // self._threads))
        for start in range(0, len(features), size):
            self.add(features[start : start + size])

    def __len__(self) -> int:
        return sum(part.ntotal for part in self._parts)

    def add(self, features: np.ndarray) -> None:
        """Append (n, C) rows."""
        rotated = features @ self._rotation
        if not self._parts or self._parts[-1].ntotal >= _SMALL:
            part = faiss.IndexRaBitQ(rotated.shape[1], faiss.METRIC_INNER_PRODUCT)
            part.train(rotated)
            self._parts.append(part)
        self._parts[-1].add(rotated)

    def remove(self, rows: np.ndarray) -> None:
        """Remove rows; those behind them move up."""
        for part, chosen in self._split(rows):
            part.remove_ids(faiss.IDSelectorBatch(chosen))
        self._parts = [part for part in self._parts if part.ntotal]

    def __call__(
        self, query: np.ndarray, count: int, rows: np.ndarray | None = None
    ) -> np.ndarray:
        """Rows that are likely the most similar ones, in no order.

        Args:
            query (np.ndarray): (C,) float32.
            count (int): How many of each part.
            rows (np.ndarray, optional): Sorted, look at these only.

        Returns:
            np.ndarray: (n,) int64.
        """
        query = (query @ self._rotation)[None]
        parts = self._split(rows)

        def search(part, chosen):
            if chosen is not None and not len(chosen):
                return np.empty(0, np.int64)
            params = faiss.RaBitQSearchParameters()
            if chosen is not None:
                params = faiss.RaBitQSearchParameters(sel=faiss.IDSelectorBatch(chosen))
            found = part.search(query, min(count, part.ntotal), params=params)[1][0]
            return found[found >= 0]

        with ThreadPoolExecutor(self._threads) as pool:
            found = list(pool.map(lambda pair: search(*pair), parts))
        return np.concatenate(
            [part + start for part, start in zip(found, self._starts())]
        )

    def _starts(self) -> np.ndarray:
        sizes = [part.ntotal for part in self._parts]
        return np.cumsum([0, *sizes])

    def _split(self, rows: np.ndarray | None) -> list[tuple]:
        """Each part with its own of the sorted rows, None for all."""
        if rows is None:
            return [(part, None) for part in self._parts]
        starts = self._starts()
        cuts = np.searchsorted(rows, starts)
        return [
            (part, rows[a:b] - start)
            for part, a, b, start in zip(self._parts, cuts, cuts[1:], starts)
        ]
