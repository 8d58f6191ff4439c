# SPDX-License-Identifier: Apache-2.0
"""The memory of cluster centroids: initialisation and update by queries."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from .groups import mean_in_group, same_group, smallest_in_group
from .numerics import at_least_float32, no_autocast

POLICIES = ('selective', 'average', 'random', 'sequential')


def cluster_centroids(features: Tensor, labels: Tensor) -> Tensor:
    """Unit-length means of the clusters (memory initialisation).

    Args:
        features (Tensor): (N, C).
        labels (Tensor): (N,) integers; 0..U-1 are clusters, each with at
            least one image, and -1 takes no part.

    Returns:
        Tensor: (U, C), ``M[l] = L2(mean of the features of cluster l)``.

    Raises:
        ValueError: If no image is in a cluster, or a cluster is empty.
    """
    features = at_least_float32(features)
    kept = labels >= 0
    if not kept.any():
        raise ValueError('No image is in a cluster, so there is no memory to build.')
    labels = labels[kept]
    counts = torch.bincount(labels)
    if (counts == 0).any():
        empty = int((counts == 0).nonzero()[0])
        raise ValueError(
            f'Cluster {empty} has no image; labels must be 0..U-1 without gaps.'
        )
    sums = features.new_zeros(len(counts), features.shape[1])
    sums.index_add_(0, labels, features[kept])
    return F.normalize(sums / counts[:, None].to(sums.dtype))


@torch.no_grad()
def update_memory(
    memory: Tensor,
    queries: Tensor,
    labels: Tensor,
    momentum: float = 0.2,
    topk: int = 2,
    policy: str = 'selective',
) -> Tensor:
    """Move the centroids of a batch's clusters towards its queries (eq. 6).

    ``M[l] <- L2(momentum * M[l] + (1 - momentum) * q)``, for ``selective`` once
    for each of the ``topk`` least similar queries of the cluster, from the
    least similar on, ranked by the memory given; for ``average`` once, with
    the unit-length mean of the cluster's queries; for ``random`` once, with
    one of them drawn from torch's generator (table 3); for ``sequential`` with all
    of them, one after the other in the order of the batch (the public code of
    Cluster Contrast).

    Args:
        memory (Tensor): (U, C), unit length. It is not changed.
        queries (Tensor): (Q, C). Normalised here.
        labels (Tensor): (Q,) clusters of the queries, in [0, U). A cluster
            may have any number of queries.
        momentum (float): eta, the share that stays. Defaults to 0.2.
        topk (int): k of the policy ``selective``. Defaults to 2.
        policy (str): One of :data:`POLICIES`. Defaults to 'selective'.

    Returns:
        Tensor: (U, C), the new memory.

    Raises:
        ValueError: If the policy is unknown.
    """
    with no_autocast(memory):
        return _update(memory, queries, labels, momentum, topk, policy)


def _update(
    memory: Tensor,
    queries: Tensor,
    labels: Tensor,
    momentum: float,
    topk: int,
    policy: str,
) -> Tensor:
    queries = F.normalize(at_least_float32(queries)).to(memory.dtype)
    # Every query computes the new row of its cluster: no shape depends on how
    # many clusters the batch has, and nothing waits for the device.
    rows = memory[labels]
    if policy == 'selective':
        keys, steps = (queries * rows).sum(dim=1), topk
    elif policy == 'average':
        queries = F.normalize(mean_in_group(queries, labels))
        keys, steps = rows.new_zeros(len(rows)), 1
    elif policy == 'sequential':
        keys = rows.new_zeros(len(rows))
        steps = int(same_group(labels).sum(dim=1).max())
    elif policy == 'random':
        keys, steps = torch.rand(len(labels), device=labels.device), 1
    else:
        raise ValueError(f'policy must be one of {POLICIES}, got {policy!r}.')

    chosen, exists = smallest_in_group(keys, labels, steps)
    for query, there in zip(chosen.T, exists.T):
        moved = F.normalize(torch.lerp(rows, queries[query], 1 - momentum))
        rows = torch.where(there[:, None], moved, rows)
    # All queries of a cluster write the row of one of them, to the bit.
    return memory.index_copy(0, labels, rows[chosen[:, 0]])
