# SPDX-License-Identifier: Apache-2.0
"""Ranked retrieval on the test set."""

from __future__ import annotations

from itertools import islice

import numpy as np
from matplotlib.figure import Figure

from mmreid_gcl.evaluation.ranking import top_gallery
from mmreid_gcl.visualization import ranking_sheet

from .source import ModelSource, cameras_of, images_of

PICKS = ('random', 'worst', 'best')


def ranking_figure(
    source: ModelSource,
    num_queries: int = 8,
    topk: int = 10,
    pick: str = 'random',
    seed: int = 0,
) -> Figure:
    """Queries of the test set and what they find.

    ``pick`` says which ``num_queries`` that have a match: 'random', by ``seed``, or the
    'worst' or 'best' by average precision, which the heading says. A row has ``topk``
    gallery images. A ``ValueError`` if ``pick`` is unknown, or no query has a match.
    """
    if pick not in PICKS:
        raise ValueError(f'pick must be one of {PICKS}, got {pick!r}.')
    data, features = source.test_set, source.test_features
    pids, camids = data.column('pid'), data.column('camid')
    is_query = data.column('is_query')
    queries, gallery = np.flatnonzero(is_query), np.flatnonzero(~is_query)
    gallery_features = features[gallery]

    def retrieve(query: int):
        return query, top_gallery(
            gallery_features @ features[query],
            pids[query],
            camids[query],
            pids[gallery],
            camids[gallery],
            topk,
        )

    order = np.random.default_rng(seed).permutation(queries).tolist()
    found = (pair for pair in map(retrieve, order) if pair[1].ap is not None)
    if pick != 'random':
        sign = 1 if pick == 'worst' else -1
        found = sorted(found, key=lambda pair: (sign * pair[1].ap, pair[0]))
    found = list(islice(found, num_queries))
    if not found:
        raise ValueError(
            f'None of the {len(queries)} query images has a match among the '
            f'{len(gallery)} gallery images of another camera: nothing to show.'
        )
    images, cameras = images_of(data), cameras_of(data)
    which = {'random': f'random queries (seed {seed})'}.get(pick, f'{pick} queries')
    return ranking_sheet(
        [images[query] for query, _ in found],
        [[images[i] for i in gallery[result.indices]] for _, result in found],
        [result.matches for _, result in found],
        [result.scores for _, result in found],
        [cameras[query] for query, _ in found],
        [cameras[gallery[result.indices]] for _, result in found],
        [f'AP {100 * result.ap:.0f} %' for _, result in found],
        title=f'{source.name}: {which}',
    )
