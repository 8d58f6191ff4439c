# SPDX-License-Identifier: Apache-2.0
"""Ranking of a gallery for queries: mAP, mINP and CMC, without sorting it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch
from mmengine.logging import print_log
from torch import Tensor

from mmreid_gcl.parallel import all_cores
from mmreid_gcl.precision import float32_products

from ..clustering.features import as_pair, feature_dtype, unit_rows
from .counting import match_ranks
from .ground_truth import JUNK_PID, IdentityIndex, as_ids, does_not_count, num_matches
from .open_set import best_match, best_valid, identification_rates

Array: TypeAlias = np.ndarray | Tensor
Ids: TypeAlias = np.ndarray | Tensor | Sequence[int]

# Bytes of similarities held at a time, and the rows below which the matrix product
# itself becomes slow: it reads the whole gallery for every chunk.
_CPU_BYTES, _GPU_BYTES, _MAX_BYTES = 2**26, 2**28, 2**28
_MIN_ROWS = 256


def evaluate_ranking(
    query_features: Array,
    query_pids: Ids,
    query_camids: Ids,
    gallery_features: Array,
    gallery_pids: Ids,
    gallery_camids: Ids,
    topk: Sequence[int] = (1, 5, 10),
    chunk_size: int | None = None,
    false_alarms: Sequence[float] = (),
) -> dict[str, float]:
    """Rank the gallery for every query by cosine similarity and score it.

    The rules (those of Market-1501, Zheng et al. 2015, with ties settled):

    - A gallery image with the query's identity *and* camera is ignored.
    - Images with pid -1 (junk) are ignored, as gallery and as query. Pid 0 is
      an identity like any other; in Market-1501 no query has it, so there it
      is a distractor.
    - The rank of a match is 1 + the number of valid gallery images that are
      more similar + the number of equally similar ones with a smaller gallery
      index, all from the same computed similarities.
    - AP is the mean of the precision at each match (not trapezoidal). INP is
      the number of matches over the rank of the last (Ye et al. 2021).
    - Queries without a valid match are left out; a warning gives their number.

    Similarities are computed in float64 if either side is float64, else in
    float32, on the device of the gallery; the queries x gallery matrix is
    never held.

    Args:
        query_features (np.ndarray | Tensor): (Q, C), any real dtype. They
            need not be normalised.
        query_pids (np.ndarray | Tensor | Sequence[int]): (Q,), identities.
        query_camids (np.ndarray | Tensor | Sequence[int]): (Q,), cameras.
        gallery_features (np.ndarray | Tensor): (G, C).
        gallery_pids (np.ndarray | Tensor | Sequence[int]): (G,), identities.
        gallery_camids (np.ndarray | Tensor | Sequence[int]): (G,), cameras.
        topk (Sequence[int]): Ranks at which CMC is reported. Defaults to
            (1, 5, 10).
        chunk_size (int, optional): Queries computed at a time. Defaults to
            None: as many as the device's cache or memory suggests.
        false_alarms (Sequence[float]): Shares of the queries without a match that
            may raise an alarm, for
            :func:`~mmreid_gcl.evaluation.open_set.identification_rates`. Defaults
            to (): not looked at.

    Returns:
        dict[str, float]: ``mAP``, ``mINP`` and ``R{k}`` for each k, in percent; and
        ``DIR@1%`` and so on for ``false_alarms``.

    Raises:
        ValueError: If shapes disagree, if a feature is a zero vector or holds
            NaN or Inf, if no query has a match, or if topk or chunk_size is
            not positive.
        TypeError: If pids or camids are not integers, or features not real.
    """
    query_features, gallery_features = as_pair(query_features, gallery_features)
    query_pids = as_ids(query_pids, len(query_features), 'query_pids')
    gallery_pids = as_ids(gallery_pids, len(gallery_features), 'gallery_pids')
    gallery_camids = as_ids(gallery_camids, len(gallery_features), 'gallery_camids')

    valid = gallery_pids != JUNK_PID
    dtype = feature_dtype(query_features, gallery_features)
    gallery = unit_rows(gallery_features, 'gallery_features', valid, dtype)
    query = unit_rows(query_features, 'query_features', None, dtype, gallery.device)
    if chunk_size is None:
        chunk_size = default_chunk(len(gallery), gallery.element_size(), gallery.device)
    return _rank(
        cosine_similarity(query, gallery),
        query_pids,
        as_ids(query_camids, len(query_features), 'query_camids'),
        gallery_pids[valid],
        gallery_camids[valid],
        topk,
        chunk_size,
        false_alarms,
    )


def rank_from_similarity(
    similarity: Array | Callable[[np.ndarray], Array],
    query_pids: Ids,
    query_camids: Ids,
    gallery_pids: Ids,
    gallery_camids: Ids,
    topk: Sequence[int] = (1, 5, 10),
    chunk_size: int | None = None,
    false_alarms: Sequence[float] = (),
) -> dict[str, float]:
    """Score a ranking by given similarities, for example re-ranked ones.

    The rules are those of :func:`evaluate_ranking`. For distances, pass their
    negative.

    Args:
        similarity (np.ndarray | Tensor | Callable): (Q, G), larger is more
            similar; or a function that takes an array of query indices (n,)
            and returns their rows (n, G).
        query_pids (np.ndarray | Tensor | Sequence[int]): (Q,), identities.
        query_camids (np.ndarray | Tensor | Sequence[int]): (Q,), cameras.
        gallery_pids (np.ndarray | Tensor | Sequence[int]): (G,), identities.
        gallery_camids (np.ndarray | Tensor | Sequence[int]): (G,), cameras.
        topk (Sequence[int]): Ranks at which CMC is reported. Defaults to
            (1, 5, 10).
        chunk_size (int, optional): Queries asked for at a time. Defaults to
            None: about 64 MiB of similarities, but at least 256 queries.
        false_alarms (Sequence[float]): As there.

    Returns:
        dict[str, float]: ``mAP``, ``mINP`` and ``R{k}`` for each k, in percent.

    Raises:
        ValueError: If shapes disagree, a similarity is NaN, no query has a
            match, or topk or chunk_size is not positive.
        TypeError: If pids or camids are not integers.
    """
    query_pids = as_ids(query_pids, len(query_pids), 'query_pids')
    gallery_pids = as_ids(gallery_pids, len(gallery_pids), 'gallery_pids')
    gallery_camids = as_ids(gallery_camids, len(gallery_pids), 'gallery_camids')
    if not callable(similarity):
        if not isinstance(similarity, Tensor):
            similarity = np.asarray(similarity)
        _check_shape(similarity, len(query_pids), len(gallery_pids))
        similarity = similarity.__getitem__
    valid = gallery_pids != JUNK_PID

    def checked(rows: np.ndarray) -> Array:
        chunk = similarity(rows)
        _check_shape(chunk, len(rows), len(gallery_pids))
        if chunk.max() != chunk.max():  # a maximum is NaN if any value is
            raise ValueError('similarity holds NaN; such images cannot be ranked.')
        return chunk if valid.all() else chunk[:, valid]

    if chunk_size is None:
        chunk_size = default_chunk(len(gallery_pids), 4, torch.device('cpu'))
    return _rank(
        checked,
        query_pids,
        as_ids(query_camids, len(query_pids), 'query_camids'),
        gallery_pids[valid],
        gallery_camids[valid],
        topk,
        chunk_size,
        false_alarms,
    )


def cosine_similarity(query: Tensor, gallery: Tensor) -> Callable[[np.ndarray], Array]:
    """Rows of ``query @ gallery.T``, computed when asked for.

    Of unit rows (Q, C) and (G, C), of the same dtype and device. The result takes query
    indices (n,) and gives their similarities (n, G), an array for CPU tensors, else a
    tensor; its memory is used again by the next call.
    """
    buffer: list[Array] = []

    def rows_of(rows: np.ndarray) -> Array:
        if not buffer or len(buffer[0]) < len(rows):
            buffer[:] = [query.new_empty((len(rows), len(gallery)))]
        out = buffer[0][: len(rows)]
        if query.device.type == 'cpu':
            # numpy's BLAS was twice as fast as torch's on the CPUs tried.
            out = out.numpy()
            return np.matmul(query.numpy()[rows], gallery.numpy().T, out=out)
        with float32_products(query.device.type):
            index = torch.from_numpy(rows).to(query.device)
            return torch.mm(query[index], gallery.T, out=out)

    return rows_of


@dataclass(frozen=True)
class Retrieved:
    """The beginning of a query's ranking."""

    indices: np.ndarray  #: (k,) gallery images, the best first
    scores: np.ndarray  #: (k,) their similarities
    #: (k,) bool, which have the query's identity; None if identities are not known
    matches: np.ndarray | None = None
    #: Average precision of the *whole* ranking, 0 to 1; None without a valid match
    ap: float | None = None


def top_gallery(
    similarity: np.ndarray,
    pid: int | None = None,
    camid: int | None = None,
    gallery_pids: np.ndarray | None = None,
    gallery_camids: np.ndarray | None = None,
    topk: int = 10,
) -> Retrieved:
    """What one query finds first, by the rules of :func:`evaluate_ranking`.

    Of (G,) similarities, larger is more similar; at most ``topk`` are named. With an
    unknown ``pid`` (None or -1) or without ``gallery_pids`` nothing is ignored.
    """
    similarity = np.asarray(similarity)
    if similarity.ndim != 1 or np.isnan(similarity).any():
        raise ValueError(
            'top_gallery: expected the similarities of one query, (G,), without NaN; '
            f'got the shape {similarity.shape}.'
        )
    order = np.argsort(-similarity, kind='stable')
    if pid is None or pid == JUNK_PID or gallery_pids is None:
        return Retrieved(order[:topk], similarity[order[:topk]])
    pids = as_ids(gallery_pids, len(similarity), 'gallery_pids')
    cams = np.full(len(pids), -1) if gallery_camids is None else gallery_camids
    cams = as_ids(cams, len(pids), 'gallery_camids')
    order = order[~does_not_count(pid, camid, pids, cams)[order]]
    matches = pids[order] == pid
    ranks = np.flatnonzero(matches) + 1
    ap = float(_scores(ranks, np.array([len(ranks)]))[0][0]) if len(ranks) else None
    first = order[:topk]
    return Retrieved(first, similarity[first], matches[:topk], ap)


def _rank(
    similarity: Callable[[np.ndarray], Array],
    query_pids: np.ndarray,
    query_camids: np.ndarray,
    gallery_pids: np.ndarray,
    gallery_camids: np.ndarray,
    topk: Sequence[int],
    chunk_size: int,
    false_alarms: Sequence[float],
) -> dict[str, float]:
    """The ranking itself; the gallery is without junk."""
    topk = tuple(topk)
    if any(k != int(k) or k < 1 for k in topk):
        raise ValueError(f'topk must hold positive integers, got {topk}.')
    if chunk_size < 1:
        raise ValueError(f'chunk_size must be positive, got {chunk_size}.')
    index = IdentityIndex(gallery_pids, gallery_camids)
    bounds = index.bounds(query_pids, query_camids)
    matches = num_matches(bounds)
    matches[query_pids == JUNK_PID] = 0
    _report_left_out(matches, query_pids, bool(false_alarms))

    # Most matches first: then the queries of a chunk have about equally many.
    queries = np.argsort(-matches, kind='stable')[: np.count_nonzero(matches)]
    ap, inp, first, best = (np.empty(len(queries)) for _ in range(4))
    unmatched = np.flatnonzero((matches == 0) & (query_pids != JUNK_PID))
    alarms = np.empty(len(unmatched))
    with all_cores():
        for start in range(0, len(queries), chunk_size):
            rows = queries[start : start + chunk_size]
            chunk = similarity(rows)
            ranks = match_ranks(chunk, index.order, bounds[rows])
            part = slice(start, start + len(rows))
            ap[part], inp[part], first[part] = _scores(ranks, matches[rows])
            if false_alarms:
                best[part] = best_match(chunk, index.order, bounds[rows])
        for start in range(0, len(unmatched) if false_alarms else 0, chunk_size):
            rows = unmatched[start : start + chunk_size]
            part = slice(start, start + len(rows))
            alarms[part] = best_valid(similarity(rows), index.order, bounds[rows])
    result = {'mAP': ap.mean(), 'mINP': inp.mean()}
    result.update({f'R{int(k)}': (first <= k).mean() for k in topk})
    percent = {name: 100 * float(value) for name, value in result.items()}
    if false_alarms:
        found = np.where(first == 1, best, -np.inf)
        percent.update(identification_rates(found, alarms, false_alarms))
    return percent


def _scores(ranks: np.ndarray, matches: np.ndarray) -> tuple[np.ndarray, ...]:
    """AP, INP and first rank of n queries, from the ranks of their ``matches`` (n,)."""
    rows = np.repeat(np.arange(len(matches)), matches)
    ranks = ranks[np.lexsort((ranks, rows))]
    begins = np.cumsum(matches) - matches
    found = np.arange(len(ranks)) - begins[rows] + 1
    ap = np.add.reduceat(found / ranks, begins) / matches
    inp = matches / ranks[begins + matches - 1]
    return ap, inp, ranks[begins]


def _report_left_out(
    matches: np.ndarray, query_pids: np.ndarray, open_set: bool
) -> None:
    num = len(matches)
    junk = int(np.count_nonzero(query_pids == JUNK_PID))
    unmatched = num - junk - int(np.count_nonzero(matches))
    if junk + unmatched == num:
        raise ValueError(
            f'None of the {num} queries has a match: {junk} are junk (pid -1), and '
            f'for {unmatched} no gallery image has the same pid under another camid. '
            'Check that query and gallery share identities and that camids are read '
            'from the right place.'
        )
    if junk + unmatched:
        print_log(
            f'{junk + unmatched} of {num} queries are left out of the ranking: '
            f'{unmatched} without a valid match'
            + (' (they make the false alarms)' if open_set else '')
            + f', {junk} junk (pid -1).',
            logger='current',
            level=logging.WARNING,
        )


def _check_shape(similarity: Array, rows: int, columns: int) -> None:
    if tuple(similarity.shape) != (rows, columns):
        raise ValueError(
            f'similarity must have the shape (queries, gallery) = ({rows}, {columns}), '
            f'got {tuple(similarity.shape)}.'
        )


def default_chunk(columns: int, itemsize: int, device: torch.device) -> int:
    """Rows of ``columns`` similarities to compute at a time, at least 1."""
    row = max(1, columns) * itemsize
    budget = _CPU_BYTES if device.type == 'cpu' else _GPU_BYTES
    return max(1, budget // row, min(_MIN_ROWS, _MAX_BYTES // row))
