# SPDX-License-Identifier: Apache-2.0
"""Graph correlation: attention among nodes and the nodes it refines."""

from __future__ import annotations

import torch
from torch import Tensor


def correlation(
    theta: Tensor, phi: Tensor, temperature: float, among: Tensor | None = None
) -> Tensor:
    """Attention of every node to every node of its graph (eq. 1, 2 and 5).

    ``m_ij = softmax_j(T * theta_i . phi_j)``; T multiplies.

    Args:
        theta (Tensor): (..., B, C) embedded nodes, unit length.
        phi (Tensor): (..., B, C) embedded nodes, unit length.
        temperature (float): T.
        among (Tensor, optional): (..., B, B) bool, which nodes a node attends to, one
            at least. Defaults to all.

    Returns:
        Tensor: (..., B, B); rows sum to 1, the node itself is included.
    """
    logits = temperature * theta @ phi.transpose(-1, -2)
    if among is not None:
        logits = logits.masked_fill(~among, -torch.inf)
    return torch.softmax(logits, dim=-1)


def mutual_nearest(nodes: Tensor, count: int) -> Tensor:
    """Which nodes are among each other's nearest of a graph.

    Args:
        nodes (Tensor): (..., B, C), unit length.
        count (int): Nearest of a node, itself counted; B at most are taken.

    Returns:
        Tensor: (..., B, B) bool, symmetric, True on the diagonal.
    """
    nodes = nodes.detach()
    similarity = nodes @ nodes.transpose(-1, -2)
    size = similarity.shape[-1]
    own = torch.eye(size, dtype=torch.bool, device=nodes.device)
    nearest = similarity.masked_fill(own, torch.inf).topk(min(count, size), dim=-1)
    near = torch.zeros_like(similarity, dtype=torch.bool)
    near.scatter_(-1, nearest.indices, True)
    return near & near.transpose(-1, -2)


def relation_aware(nodes: Tensor, attention: Tensor) -> Tensor:
    """A node beside the attention's mean of its graph (eq. 3 and 4).

    Args:
        nodes (Tensor): (..., B, C).
        attention (Tensor): (..., B, B).

    Returns:
        Tensor: (..., B, 2C), ``concat(v_i, sum_j m_ij v_j)``.
    """
    return torch.cat([nodes, attention @ nodes], dim=-1)


def neighbour_correlation(
    theta: Tensor, phi: Tensor, neighbours: Tensor, temperature: float
) -> Tensor:
    """:func:`correlation` where each node has a neighbourhood of its own.

    Args:
        theta (Tensor): (n, C) embedded nodes that look.
        phi (Tensor): (N, C) embedded nodes that are looked at.
        neighbours (Tensor): (n, B) rows of ``phi``; -1 is an empty place. At
            least one place of a row is taken.
        temperature (float): T.

    Returns:
        Tensor: (n, B); rows sum to 1, empty places have 0.
    """
    empty = neighbours < 0
    keys = phi[neighbours.clamp(min=0)]  # (n, B, C)
    logits = temperature * torch.einsum('nc,nbc->nb', theta, keys)
    return torch.softmax(logits.masked_fill(empty, -torch.inf), dim=-1)


def neighbour_relation_aware(
    nodes: Tensor, source: Tensor, neighbours: Tensor, attention: Tensor
) -> Tensor:
    """:func:`relation_aware` where each node has a neighbourhood of its own.

    Args:
        nodes (Tensor): (n, C).
        source (Tensor): (N, C) the nodes that ``neighbours`` indexes.
        neighbours (Tensor): (n, B); -1 is an empty place.
        attention (Tensor): (n, B).

    Returns:
        Tensor: (n, 2C).
    """
    values = source[neighbours.clamp(min=0)]
    refined = torch.einsum('nb,nbc->nc', attention, values)
    return torch.cat([nodes, refined], dim=-1)
