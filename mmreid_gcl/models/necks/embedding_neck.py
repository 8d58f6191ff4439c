# SPDX-License-Identifier: Apache-2.0
"""EmbeddingNeck: feature maps to the embedding."""

from __future__ import annotations

from collections.abc import Sequence

from mmcv.cnn import build_norm_layer
from mmpretrain.models import GeneralizedMeanPooling, GlobalAveragePooling
from torch import Tensor

from mmreid_gcl.registry import MODELS

from ..functional.numerics import unit_length
from .global_norm import KeepsOwnNorm

_POOLING = {'avg': GlobalAveragePooling, 'gem': GeneralizedMeanPooling}


@MODELS.register_module()
class EmbeddingNeck(KeepsOwnNorm):
    """Pool, normalise over the batch, normalise to unit length.

    ``x = L2(BN(pool(map)))``, "GAP followed by batch normalization and L2
    normalization layers" of the paper. The bias of the batch norm is frozen at
    0, as in public baselines.

    Args:
        in_channels (int): C, channels of the last feature map.
        pooling (str): 'avg' (the paper) or 'gem'. Defaults to 'avg'.
        norm_cfg (dict): The norm. Defaults to ``dict(type='BN1d')``.

    Raises:
        ValueError: If ``pooling`` is unknown.
    """

    def __init__(
        self,
        in_channels: int,
        pooling: str = 'avg',
        norm_cfg: dict = dict(type='BN1d'),  # noqa: B006
    ) -> None:
        super().__init__()
        if pooling not in _POOLING:
            raise ValueError(
                f'pooling must be one of {sorted(_POOLING)}, got {pooling!r}.'
            )
        self.in_channels = in_channels
        self.pooling = _POOLING[pooling]()
        self.norm = build_norm_layer(norm_cfg, in_channels)[1]
        if getattr(self.norm, 'bias', None) is not None:
            self.norm.bias.requires_grad_(False)

    def pool(self, maps: Tensor | Sequence[Tensor]) -> Tensor:
        """One vector an image.

        Args:
            maps (Tensor | Sequence[Tensor]): (n, C, H, W), or a backbone's
                several outputs, the last of which is taken. (n, C), such as a
                class token, passes.

        Returns:
            Tensor: (n, C).
        """
        x = maps if isinstance(maps, Tensor) else maps[-1]
        return x if x.ndim == 2 else self.pooling(x)

    def forward(
        self, maps: Tensor | Sequence[Tensor], parts: bool = False
    ) -> Tensor | dict[str, Tensor]:
        """Feature maps to embeddings.

        Args:
            maps (Tensor | Sequence[Tensor]): As of :meth:`pool`.
            parts (bool): Give what comes before as well. Defaults to False.

        Returns:
            Tensor | dict[str, Tensor]: (n, C), unit length; with ``parts`` a dict of
            ``pooled``, ``normed`` (after the batch norm) and ``embedding``.
        """
        pooled = self.pool(maps)
        normed = self.norm(pooled)
        embedding = unit_length(normed)
        if parts:
            return dict(pooled=pooled, normed=normed, embedding=embedding)
        return embedding
