# SPDX-License-Identifier: Apache-2.0
"""Ranking of a gallery, and the metric around it."""

from .expansion import average_query_expansion
from .metrics import ReIDMetric
from .ranking import cosine_similarity, evaluate_ranking, rank_from_similarity
from .rerank import k_reciprocal_rerank
from .tracks import track_means

__all__ = [
    'ReIDMetric',
    'average_query_expansion',
    'cosine_similarity',
    'evaluate_ranking',
    'k_reciprocal_rerank',
    'rank_from_similarity',
    'track_means',
]
