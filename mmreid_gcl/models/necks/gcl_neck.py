# SPDX-License-Identifier: Apache-2.0
"""Graph correlation learning (GCL)."""

from __future__ import annotations

import torch
from mmcv.cnn import build_norm_layer
from torch import Tensor, nn

from mmreid_gcl.registry import MODELS

from ..functional import (
    correlation,
    mutual_nearest,
    neighbour_correlation,
    neighbour_relation_aware,
    relation_aware,
)
from ..functional.numerics import unit_length
from .global_norm import KeepsOwnNorm


class Projection(KeepsOwnNorm):
    """An embedding function of GCL: ``L2(BN(W v))`` (below eq. 1).

    Args:
        channels (int): C.
        norm_cfg (dict): The norm.
        identity (bool): Begin with W = I. Defaults to False.
    """

    def __init__(self, channels: int, norm_cfg: dict, identity: bool = False) -> None:
        super().__init__()
        # no bias: the norm that follows has its own
        self.linear = nn.Linear(channels, channels, bias=False)
        if identity:
            nn.init.eye_(self.linear.weight)
        self.norm = build_norm_layer(norm_cfg, channels)[1]

    def forward(self, x: Tensor) -> Tensor:
        """(..., C) to (..., C) of unit length."""
        flat = self.norm(self.linear(x.reshape(-1, x.shape[-1])))
        return unit_length(flat).view(x.shape)


@MODELS.register_module()
class GCLNeck(KeepsOwnNorm):
    """Graph correlation learning (eq. 1 to 5), for clustering and training.

    Every node attends to all nodes of its graph, itself included, and is
    concatenated with the attention's mean of them. There is one set of weights:
    in training a batch is one graph (noise suppression), before clustering the
    training set is cut into small ones (cluster refinement). Evaluation of the
    method does without it; in a classifier of another project, which calls it in
    evaluation too, the features depend on what else is in the batch.

    Args:
        in_channels (int): C, width of a node.
        temperature (float): T, multiplies the correlations. Defaults to 5.
        norm_cfg (dict): The norm of theta and phi. Defaults to
            ``dict(type='BN1d')``.
        identity (bool): Begin theta and phi with W = I, so that the correlation is
            the cosine from the first step, where random ones give an almost uniform
            attention. Defaults to False, as in the paper.
        mutual (int, optional): In a batch a node attends to those alone of which it is
            one of the ``mutual`` nearest and that are so to it, itself counted.
            Defaults to None: all, as in the paper. Graphs of the clustering have
            ``NeighbourGraphs(mutual=True)``.

    Raises:
        ValueError: If ``mutual`` is below 1.
    """

    def __init__(
        self,
        in_channels: int,
        temperature: float = 5.0,
        norm_cfg: dict = dict(type='BN1d'),  # noqa: B006
        identity: bool = False,
        mutual: int | None = None,
    ) -> None:
        super().__init__()
        if mutual is not None and mutual < 1:
            raise ValueError(f'mutual must be at least 1, got {mutual!r}.')
        self.in_channels = in_channels
        self.temperature = temperature
        self.mutual = mutual
        self.theta = Projection(in_channels, norm_cfg, identity)
        self.phi = Projection(in_channels, norm_cfg, identity)

    def attention(self, x: Tensor) -> Tensor:
        """Attention scores ``m_ij`` (eq. 1, 2 and 5).

        Args:
            x (Tensor): (..., B, C) nodes.

        Returns:
            Tensor: (..., B, B); rows sum to 1.
        """
        among = None if self.mutual is None else mutual_nearest(x, self.mutual)
        return correlation(self.theta(x), self.phi(x), self.temperature, among)

    def forward(self, x: Tensor | tuple[Tensor, ...]):
        """Relation-aware nodes (eq. 4).

        Args:
            x (Tensor | tuple[Tensor]): (..., B, C) nodes of graphs.

        Returns:
            Tensor | tuple[Tensor]: (..., B, 2C); a tuple for a tuple.
        """
        if isinstance(x, (tuple, list)):
            return tuple(self.forward(item) for item in x)
        self._check(x)
        return relation_aware(x, self.attention(x))

    def refine(self, x: Tensor, neighbours: Tensor, chunk_size: int = 1024) -> Tensor:
        """Relation-aware nodes where each names the nodes of its own graph.

        Every image is projected once, however many graphs it is in. Where the
        rows of ``neighbours`` are small graphs cut from the data set, this is
        what :meth:`forward` gives for each of them (norms in eval mode).

        Args:
            x (Tensor): (N, C) nodes.
            neighbours (Tensor): (N, B) integer indices of the nodes that each
                node attends to; -1 is an empty place, and a row has at least
                one that is not.
            chunk_size (int): Rows at a time, to bound memory to
                ``chunk_size * B * C`` numbers. Defaults to 1024.

        Returns:
            Tensor: (N, 2C), where ``x`` is. With ``x`` and ``neighbours`` on the CPU
            and the module on a GPU, the chunks go there one by one, and what is as
            long as N stays on the CPU.
        """
        self._check(x)
        theta = self._by_chunks(self.theta, x, chunk_size)
        phi = self._by_chunks(self.phi, x, chunk_size)
        out = []
        for rows in torch.arange(len(x), device=x.device).split(chunk_size):
            near = neighbours[rows].long()
            # the images of these neighbourhoods, once each
            used, near = _compact(near)
            place = self._device
            near = near.to(place)
            weights = neighbour_correlation(
                theta[rows].to(place), phi[used].to(place), near, self.temperature
            )
            refined = neighbour_relation_aware(
                x[rows].to(place), x[used].to(place), near, weights
            )
            out.append(refined.to(x.device))
        return torch.cat(out)

    def _by_chunks(self, project: nn.Module, x: Tensor, size: int) -> Tensor:
        if self.training:  # the norm's statistics are those of all nodes
            return project(x.to(self._device)).to(x.device)
        parts = x.split(size)
        return torch.cat([project(p.to(self._device)).to(x.device) for p in parts])

    @property
    def _device(self) -> torch.device:
        return self.theta.linear.weight.device

    def _check(self, x: Tensor) -> None:
        if x.shape[-1] != self.in_channels:
            raise ValueError(
                f'GCLNeck has in_channels={self.in_channels}, but the nodes have '
                f'{x.shape[-1]} channels (shape {tuple(x.shape)}).'
            )


def _compact(indices: Tensor) -> tuple[Tensor, Tensor]:
    """Distinct rows that an index names, and the index into those.

    Args:
        indices (Tensor): (n, B) int64; -1 names none.

    Returns:
        tuple[Tensor, Tensor]: (m,) rows, and (n, B) places in them, -1 kept.
    """
    rows, places = indices.clamp(min=0).unique(return_inverse=True)
    return rows, places.masked_fill(indices < 0, -1)
