# SPDX-License-Identifier: Apache-2.0
"""The losses of camera-aware proxies (CAP, Wang et al., AAAI 2021)."""

from __future__ import annotations

import torch
from torch import Tensor

from .groups import same_group
from .numerics import no_autocast, unit_length


def intra_camera_loss(
    queries: Tensor,
    labels: Tensor,
    camids: Tensor,
    proxies: Tensor,
    proxy_labels: Tensor,
    proxy_camids: Tensor,
    temperature: float = 0.07,
) -> Tensor:
    """Contrast of a query with the proxies of its own camera.

    The sum over the cameras of the batch of the mean over their queries of
    ``-log softmax_j(q . K[j] / temperature)[own proxy]``, j over the proxies of that
    camera.

    Args:
        queries (Tensor): (Q, C). Normalised here.
        labels (Tensor): (Q,) clusters.
        camids (Tensor): (Q,) cameras.
        proxies (Tensor): (M, C), unit length; get no gradient.
        proxy_labels (Tensor): (M,) cluster of each proxy.
        proxy_camids (Tensor): (M,) camera of each proxy; no pair comes twice.
        temperature (float): tau. Defaults to 0.07.

    Returns:
        Tensor: A scalar, float32 or wider whatever autocast says.
    """
    logits = _logits(queries, proxies, temperature)
    here = proxy_camids == camids[:, None]
    own = here & (proxy_labels == labels[:, None])
    losses = _log_sum(logits, here) - torch.where(own, logits, 0).sum(dim=1)
    return _sum_over_cameras(losses, camids)


def inter_camera_loss(
    queries: Tensor,
    labels: Tensor,
    camids: Tensor,
    proxies: Tensor,
    proxy_labels: Tensor,
    proxy_camids: Tensor,
    temperature: float = 0.07,
    negatives: int = 50,
) -> Tensor:
    """Contrast of a query with its cluster's proxies in other cameras.

    For a query the mean over its positives p, the proxies of its cluster in other
    cameras, of ``-log(exp(s_p) / sum_j exp(s_j))``, j over the positives and the
    ``negatives`` most similar proxies of other clusters, ``s = q . K / temperature``.
    A query without positives counts 0. Summed over the cameras of the batch, mean over
    the queries of each.

    Args:
        queries (Tensor): As of :func:`intra_camera_loss`, like all but the last.
        labels (Tensor): (Q,).
        camids (Tensor): (Q,).
        proxies (Tensor): (M, C).
        proxy_labels (Tensor): (M,).
        proxy_camids (Tensor): (M,).
        temperature (float): tau. Defaults to 0.07.
        negatives (int): Hardest negatives; fewer if there are fewer. Defaults to 50.

    Returns:
        Tensor: A scalar, float32 or wider whatever autocast says.
    """
    logits = _logits(queries, proxies, temperature)
    cluster = proxy_labels == labels[:, None]
    positive = cluster & (proxy_camids != camids[:, None])
    others = logits.detach().masked_fill(cluster, -torch.inf)
    hardest = others.topk(min(negatives, others.shape[1]), dim=1)
    compared = positive.scatter(1, hardest.indices, hardest.values > -torch.inf)
    compared |= positive
    count = positive.sum(dim=1)
    mean = torch.where(positive, logits, 0).sum(dim=1) / count.clamp_min(1)
    losses = torch.where(count > 0, _log_sum(logits, compared) - mean, 0)
    return _sum_over_cameras(losses, camids)


def _logits(queries: Tensor, proxies: Tensor, temperature: float) -> Tensor:
    with no_autocast(queries):
        queries = unit_length(queries)
        return queries @ proxies.detach().to(queries.dtype).T / temperature


def _log_sum(logits: Tensor, among: Tensor) -> Tensor:
    """(Q,) log-sum-exp of the columns in ``among``; 0 of none."""
    some = among.any(dim=1)
    # no row of minus infinities, whose gradient is not a number
    shown = torch.where(among | ~some[:, None], logits, -torch.inf)
    return torch.where(some, torch.logsumexp(shown, dim=1), 0)


def _sum_over_cameras(losses: Tensor, camids: Tensor) -> Tensor:
    """The sum over the cameras of the mean over each one's queries."""
    return (losses / same_group(camids).sum(dim=1)).sum()
