# SPDX-License-Identifier: Apache-2.0
"""Matches, junk and ignored gallery images of a query."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import Tensor

#: Identity of junk images (false detections); they count for nothing.
JUNK_PID = -1


def as_ids(values: np.ndarray | Tensor | Sequence[int], num: int, name: str):
    """Identities or cameras as a (num,) int64 array; messages call them ``name``."""
    if isinstance(values, Tensor):
        values = values.detach().cpu().numpy()
    values = np.asarray(values)
    if values.shape != (num,):
        raise ValueError(
            f'{name} must have one entry per feature, shape ({num},), got '
            f'{values.shape}.'
        )
    if values.dtype.kind not in 'iu':
        raise TypeError(f'{name} must be integers, got dtype {values.dtype}.')
    return values.astype(np.int64)


class IdentityIndex:
    """The gallery (G,) sorted by identity, then camera, then position; without junk.

    In this order the images that a query may match and those that it must ignore are
    contiguous, so four numbers describe a query, and nothing of size query x gallery is
    needed.
    """

    def __init__(self, pids: np.ndarray, camids: np.ndarray) -> None:
        self._pids, pid_codes = np.unique(pids, return_inverse=True)
        self._camids, cam_codes = np.unique(camids, return_inverse=True)
        # One code more than there are cameras stands for an unseen camera.
        self._stride = len(self._camids) + 1
        keys = pid_codes * self._stride + cam_codes
        self.order = np.argsort(keys, kind='stable')
        self._keys = keys[self.order]

    def bounds(self, pids: np.ndarray, camids: np.ndarray) -> np.ndarray:
        """Where the matches of n queries stand in :attr:`order`, (n, 4) int64.

        Begin, ignored begin, ignored end, end: ``order[begin:end]`` has the query's
        identity, and the part between the two middle values its camera as well.
        """
        pid_codes, known = _codes(self._pids, pids)
        cam_codes, seen = _codes(self._camids, camids)
        cam_codes = np.where(seen, cam_codes, self._stride - 1)
        first = pid_codes * self._stride
        own = first + cam_codes
        result = np.empty((len(pids), 4), np.int64)
        result[:, 0] = np.searchsorted(self._keys, first)
        result[:, 1] = np.searchsorted(self._keys, own)
        result[:, 2] = np.searchsorted(self._keys, own, side='right')
        result[:, 3] = np.searchsorted(self._keys, first + self._stride)
        result[~known] = 0
        return result


def _codes(known: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Positions of ``values`` in the sorted ``known``, and which are in it."""
    codes = np.searchsorted(known, values)
    found = codes < len(known)
    found[found] = known[codes[found]] == values[found]
    return codes, found


def num_matches(bounds: np.ndarray) -> np.ndarray:
    """Valid matches of each query, from :meth:`IdentityIndex.bounds`."""
    return bounds[:, 1] - bounds[:, 0] + bounds[:, 3] - bounds[:, 2]


def match_positions(
    order: np.ndarray, bounds: np.ndarray, ignored: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of a query's row and the gallery index of a match, by rows.

    ``order`` and ``bounds`` (n, 4) are of an :class:`IdentityIndex`; ``ignored`` gives
    the ignored images instead.
    """
    if ignored:
        begins, ends = bounds[:, 1:2], bounds[:, 2:3]
    else:
        begins, ends = bounds[:, 0::2], bounds[:, 1::2]
    lengths = (ends - begins).ravel()
    rows = np.repeat(np.arange(len(bounds)).repeat(begins.shape[1]), lengths)
    starts = np.cumsum(lengths) - lengths
    within = np.arange(lengths.sum()) - np.repeat(starts, lengths)
    return rows, order[np.repeat(begins.ravel(), lengths) + within]


def does_not_count(
    pid: int, camid: int | None, gallery_pids: np.ndarray, gallery_camids: np.ndarray
) -> np.ndarray:
    """(G,) bool, what does not count: junk, and the query's pid with its camid."""
    own = (gallery_pids == pid) & (gallery_camids == camid)
    return own | (gallery_pids == JUNK_PID)
