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

_TOKENS = (None, 'class', 'mean')
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
        tokens (str, optional): Of a transformer's tokens, 'class' takes the first,
            'mean' the mean of those of patches. Defaults to None: tokens are an error,
            for which is meant depends on the network.
        num_prefix_tokens (int): Tokens before those of patches: the class token and
            registers (timm's attribute of that name). Defaults to 1.

    Raises:
        ValueError: If ``pooling`` or ``tokens`` is unknown, or there is no class token
            to take.
    """

    def __init__(
        self,
        in_channels: int,
        pooling: str = 'avg',
        norm_cfg: dict = dict(type='BN1d'),  # noqa: B006
        tokens: str | None = None,
        num_prefix_tokens: int = 1,
    ) -> None:
        super().__init__()
        if tokens not in _TOKENS:
            raise ValueError(f'tokens must be one of {_TOKENS}, got {tokens!r}.')
        if num_prefix_tokens < (tokens == 'class'):
            raise ValueError(
                "num_prefix_tokens must be at least 0, and with tokens='class', which "
                f'takes the first of them, at least 1; got {num_prefix_tokens}.'
            )
        if pooling not in _POOLING:
            raise ValueError(
                f'pooling must be one of {sorted(_POOLING)}, got {pooling!r}.'
            )
        self.in_channels = in_channels
        self.tokens = tokens
        self.num_prefix_tokens = num_prefix_tokens
        self.pooling = _POOLING[pooling]()
        self.norm = build_norm_layer(norm_cfg, in_channels)[1]
        if getattr(self.norm, 'bias', None) is not None:
            self.norm.bias.requires_grad_(False)

    def pool(self, maps: Tensor | Sequence) -> Tensor:
        """One vector an image.

        Args:
            maps (Tensor | Sequence): (n, C, H, W) or, with the channels last, (n, H, W,
                C); tokens (n, L, C); (n, C), such as a class token, which passes. Of
                several outputs, which may be nested, the last is taken.

        Returns:
            Tensor: (n, C).

        Raises:
            TypeError: If the output is no tensor.
            ValueError: If its shape is none of these, or no ``tokens`` are chosen.
        """
        x = maps
        while isinstance(x, (list, tuple)) and len(x):
            x = x[-1]
        if not isinstance(x, Tensor):
            raise TypeError(
                "EmbeddingNeck: the backbone's output is a "
                f'{type(x).__name__}; expected a tensor, or a tuple of them.'
            )
        width = self.in_channels
        if x.ndim == 2 and x.shape[1] == width:
            return x
        if x.ndim == 4 and x.shape[1] == width:
            return self.pooling(x)
        if x.ndim == 4 and x.shape[3] == width:
            return self.pooling(x.permute(0, 3, 1, 2))
        prefix = self.num_prefix_tokens
        if x.ndim == 3 and x.shape[2] == width and x.shape[1] > prefix:
            if self.tokens == 'class':
                return x[:, 0]
            if self.tokens == 'mean':
                return x[:, prefix:].mean(dim=1)
            raise ValueError(
                f"EmbeddingNeck: the backbone's output has the shape {tuple(x.shape)}, "
                "tokens (n, L, C) of a transformer. Set model.neck.tokens='class' for "
                "its class token, the first, or 'mean' for the mean of those of "
                'patches, before which come model.neck.num_prefix_tokens others.'
            )
        raise ValueError(
            f"EmbeddingNeck: the backbone's output has the shape {tuple(x.shape)}, "
            f'which is none of (n, C), (n, C, H, W), (n, H, W, C) and tokens (n, L, C) '
            f'with C = model.neck.in_channels = {width} and more than '
            f'model.neck.num_prefix_tokens = {prefix} tokens.'
        )

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
