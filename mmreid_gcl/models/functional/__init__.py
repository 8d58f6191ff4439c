# SPDX-License-Identifier: Apache-2.0
"""The mathematics of the paper as pure functions on tensors."""

from .attention import (
    correlation,
    mutual_nearest,
    neighbour_correlation,
    neighbour_relation_aware,
    relation_aware,
)
from .contrastive import selective_contrastive_loss
from .memory import POLICIES, cluster_centroids, update_memory

__all__ = [
    'POLICIES',
    'cluster_centroids',
    'correlation',
    'mutual_nearest',
    'neighbour_correlation',
    'neighbour_relation_aware',
    'relation_aware',
    'selective_contrastive_loss',
    'update_memory',
]
