# SPDX-License-Identifier: Apache-2.0
"""The contrastive losses of queries against a memory of centroids."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from .groups import rank_in_group, same_group
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


def hard_instance_loss(
    queries: Tensor, labels: Tensor, temperature: float = 0.1
) -> Tensor:
    """Contrast of each query with its least similar positive of the batch.

    The hard instance contrast of Chen et al., *ICE: Inter-instance Contrastive Encoding
    for Unsupervised Person Re-identification*, ICCV 2021, without its momentum encoder:
    the mean over the queries of ``-log(exp(s_p) / (exp(s_p) + sum_n exp(s_n)))``,
    ``s`` the cosine divided by the temperature, p the query of the same label with the
    smallest ``s``, n over the queries of other labels.

    Args:
        queries (Tensor): (Q, C). Normalised here.
        labels (Tensor): (Q,). A query that is alone with its label counts 0.
        temperature (float): Defaults to 0.1.

    Returns:
        Tensor: A scalar, float32 or wider whatever autocast says.
    """
    with no_autocast(queries):
        queries = unit_length(queries)
        similarity = queries @ queries.T / temperature
        same = same_group(labels)
        others = same & ~torch.eye(len(labels), dtype=torch.bool, device=labels.device)
        hardest = torch.where(others, similarity, torch.inf).amin(dim=1)
        paired = others.any(dim=1)
        positive = torch.where(paired, hardest, 0)
        negatives = torch.where(same, -torch.inf, similarity)
        terms = torch.cat([positive[:, None], negatives], dim=1)
        losses = torch.logsumexp(terms, dim=1) - positive
        return torch.where(paired, losses, 0).mean()


def soft_consistency_loss(
    queries: Tensor, targets: Tensor, temperature: float = 0.4
) -> Tensor:
    """Divergence of what two views of the images of a batch are similar to.

    After the soft instance consistency of ICE (Chen et al., ICCV 2021): the mean over
    the images i of ``sum_j Q_ij log(Q_ij / P_ij)`` over the images j of the batch, with
    ``Q_i = softmax_j(w_i . w_j / temperature)`` and
    ``P_i = softmax_j(q_i . w_j / temperature)``. In ICE the w are of a momentum
    encoder, and P compares q with a second augmented view.

    Args:
        queries (Tensor): (Q, C) q, of the augmented views. Normalised here.
        targets (Tensor): (Q, C) w, of the weak views, likewise; gets no gradient.
        temperature (float): Defaults to 0.4.

    Returns:
        Tensor: A scalar, float32 or wider whatever autocast says.
    """
    with no_autocast(queries):
        queries = unit_length(queries)
        targets = unit_length(targets.detach().to(queries.dtype))
        logs = [
            F.log_softmax(x @ targets.T / temperature, dim=1)
            for x in (queries, targets)
        ]
        return F.kl_div(*logs, reduction='batchmean', log_target=True)


def soft_label_loss(
    queries: Tensor,
    labels: Tensor,
    neighbour_labels: Tensor,
    memory: Tensor,
    temperature: float = 0.05,
    share: float = 0.5,
) -> Tensor:
    """Cross entropy against the label and those of the nearest images.

    The mean over the queries of ``-sum_j t_j log softmax_j(q . M / temperature)`` with
    ``t = (1 - share) onehot(label) + share mean_n onehot(label of neighbour n)``:
    labels that neighbours agree on, after Cho et al. (PPLR, CVPR 2022).

    Args:
        queries (Tensor): (Q, C). Normalised here.
        labels (Tensor): (Q,) clusters, in [0, U).
        neighbour_labels (Tensor): (Q, n) clusters of the nearest images; -1 is an
            outlier and left out. A query without any other keeps its label alone.
        memory (Tensor): (U, C), unit length; gets no gradient.
        temperature (float): tau. Defaults to 0.05.
        share (float): Weight of the neighbours. Defaults to 0.5.

    Returns:
        Tensor: A scalar, float32 or wider whatever autocast says.
    """
    with no_autocast(queries):
        queries = unit_length(queries)
        logits = queries @ memory.detach().to(queries.dtype).T / temperature
        surprise = -F.log_softmax(logits, dim=1)
        own = surprise.gather(1, labels[:, None]).squeeze(1)
        known = neighbour_labels >= 0
        count = known.sum(dim=1)
        near = surprise.gather(1, neighbour_labels.clamp_min(0))
        near = torch.where(known, near, 0).sum(dim=1) / count.clamp_min(1)
        near = torch.where(count > 0, near, own)
        return torch.lerp(own, near, share).mean()
