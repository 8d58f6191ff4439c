# SPDX-License-Identifier: Apache-2.0
"""The contrastive losses of queries against a memory of centroids."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from .groups import rank_in_group
from .numerics import no_autocast, unit_length


def selective_contrastive_loss(
    queries: Tensor,
    labels: Tensor,
    memory: Tensor,
    temperature: float = 0.05,
    topk: int | None = 2,
) -> Tensor:
    """Selective contrastive loss (eq. 7), averaged over the clusters.

    The mean over the batch's clusters of
    ``sum_{n=1..k} -log softmax_j(M . q_n / temperature)[l]``, where ``q_n`` are
    the k queries of the cluster that are least similar to its centroid. A
    cluster with fewer than k queries gives all of them.

    Args:
        queries (Tensor): (Q, C). Normalised here.
        labels (Tensor): (Q,) clusters of the queries, in [0, U).
        memory (Tensor): (U, C), unit length; gets no gradient.
        temperature (float): tau. Defaults to 0.05.
        topk (int, optional): k. None takes the mean over all queries instead,
            as the baseline of table 2 does. Defaults to 2.

    Returns:
        Tensor: A scalar, float32 or wider whatever autocast says.
    """
    with no_autocast(queries):
        queries = unit_length(queries)
        memory = memory.detach().to(queries.dtype)
        similarity = queries @ memory.T
        losses = F.cross_entropy(similarity / temperature, labels, reduction='none')
        if topk is None:
            return losses.mean()
        own = similarity.detach().gather(1, labels[:, None]).squeeze(1)
        order = rank_in_group(own, labels)
        clusters = (order == 0).sum()
        return torch.where(order < topk, losses, 0).sum() / clusters
