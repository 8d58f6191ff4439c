# SPDX-License-Identifier: Apache-2.0
"""The algorithm: backbone, embedding, GCL, and two contrastive losses."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from mmengine.model import BaseModel
from mmpretrain.structures import DataSample
from torch import Tensor, nn

from mmreid_gcl.registry import MODELS

from ..functional.numerics import at_least_float32
from ..gather import gather_batch


@MODELS.register_module()
class UnsupervisedReID(BaseModel):
    """Mind Your Clever Neighbours, without the clustering.

    ``L = L_scl(x) + lambda * L_scl(GCL(x))`` (eq. 8), each against its own memory;
    lambda is the ``loss_weight`` of the relation head. Evaluation uses x alone.

    Args:
        backbone (dict): Config of any backbone of mmpretrain or timm.
        neck (dict): Config of the embedding neck.
        head (dict): Config of the memory head on x.
        relation_neck (dict, optional): Config of the GCL neck. Without it the
            model is one without noise suppression and cluster refinement
            (models 1 and 3 of table 2).
        relation_head (dict, optional): Config of the memory head on GCL(x).
        flip_test (bool): Average the embeddings of an image and its mirror
            image in evaluation. Defaults to False.
        channels_last (bool): Run the backbone in channels-last memory format,
            which is faster. Defaults to False.
        compile (bool | dict): Compile backbone and necks; a dict holds arguments of
            ``torch.compile``. Defaults to False.
        compile_heads (bool | dict): Compile losses and memory updates, likewise.
            Defaults to False.
        data_preprocessor (dict, optional): Defaults to mmpretrain's
            ``ClsDataPreprocessor``.
        init_cfg (dict, optional): As everywhere in mmengine.

    Raises:
        ValueError: If only one of ``relation_neck`` and ``relation_head`` is
            given.
    """

    def __init__(
        self,
        backbone: dict,
        neck: dict,
        head: dict,
        relation_neck: dict | None = None,
        relation_head: dict | None = None,
        flip_test: bool = False,
        channels_last: bool = False,
        compile: bool | dict = False,
        compile_heads: bool | dict = False,
        data_preprocessor: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        if (relation_neck is None) != (relation_head is None):
            raise ValueError(
                'relation_neck and relation_head go together: the neck is trained '
                "by the head's loss. Give both, or neither."
            )
        if data_preprocessor is None:
            data_preprocessor = {}
        if isinstance(data_preprocessor, dict):
            data_preprocessor = dict(data_preprocessor)
            data_preprocessor.setdefault('type', 'mmpretrain.ClsDataPreprocessor')
            data_preprocessor = MODELS.build(data_preprocessor)
        super().__init__(data_preprocessor=data_preprocessor, init_cfg=init_cfg)
        self.backbone = MODELS.build(backbone)
        self.neck = MODELS.build(neck)
        self.head = MODELS.build(head)
        self.relation_neck: nn.Module | None = (
            MODELS.build(relation_neck) if relation_neck else None
        )
        self.relation_head: nn.Module | None = (
            MODELS.build(relation_head) if relation_head else None
        )
        self.flip_test = flip_test
        self.channels_last = channels_last
        if channels_last:
            self.backbone.to(memory_format=torch.channels_last)
        if compile:
            options = compile if isinstance(compile, dict) else {}
            for part in (self.backbone, self.neck, self.relation_neck):
                if part is not None:
                    part.compile(**options)
        if compile_heads:
            options = compile_heads if isinstance(compile_heads, dict) else {}
            for head in self.memory_heads:
                head.compile_functions(**options)

    @property
    def memory_heads(self) -> list:
        """The heads that keep a memory: of x, and of GCL(x) if there is one."""
        return [head for head in (self.head, self.relation_head) if head is not None]

    def forward(
        self,
        inputs: Tensor,
        data_samples: list[DataSample] | None = None,
        mode: str = 'tensor',
    ):
        """The three modes of mmengine.

        Args:
            inputs (Tensor): (n, 3, H, W) preprocessed images.
            data_samples (list[DataSample], optional): With ``gt_label``, the
                pseudo-label, for 'loss'.
            mode (str): 'tensor': embeddings (n, C); 'loss': a dict of losses;
                'predict': data samples with the field ``feature``.

        Returns:
            Tensor | dict | list[DataSample]: By ``mode``.
        """
        if mode == 'tensor':
            return self.extract_feat(inputs)
        if mode == 'loss':
            assert data_samples is not None, "mode 'loss' needs data_samples"
            return self.loss(inputs, data_samples)
        if mode == 'predict':
            return self.predict(inputs, data_samples)
        raise ValueError(f"mode must be 'tensor', 'loss' or 'predict', got {mode!r}.")

    def loss(self, inputs: Tensor, data_samples: list[DataSample]) -> dict:
        """The losses of a batch (eq. 8).

        Features and labels are gathered before the neck's batch norm: every
        rank computes the loss of the global batch. They are float32 from here on,
        also under autocast, but for the products of GCL.

        Args:
            inputs (Tensor): (n, 3, H, W), this rank's part of the batch.
            data_samples (list[DataSample]): n samples with ``gt_label``.

        Returns:
            dict[str, Tensor]: ``loss_scl`` and, with GCL, ``relation_loss_scl``.
        """
        pooled = self.neck.pool(self._maps(inputs))
        pooled = gather_batch(at_least_float32(pooled))
        labels = gather_batch(self._labels(data_samples).to(pooled.device))
        x = self.neck(pooled)
        losses = self.head.loss(x, labels)
        if self.relation_neck is not None and self.relation_head is not None:
            relation = self.relation_head.loss(self.relation_neck(x), labels)
            losses.update({f'relation_{key}': value for key, value in relation.items()})
        return losses

    def extract_feat(self, inputs: Tensor) -> Tensor:
        """Embeddings x of images: (n, 3, H, W) to (n, C), unit length."""
        x = self.neck(self._maps(inputs))
        if self.flip_test and not self.training:
            x = F.normalize(x + self.neck(self._maps(inputs.flip(-1))))
        return x

    def predict(
        self, inputs: Tensor, data_samples: list[DataSample] | None = None
    ) -> list[DataSample]:
        """Data samples with the embedding (C,) in the field ``feature``."""
        features = self.extract_feat(inputs)
        if data_samples is None:
            data_samples = [DataSample() for _ in features]
        for sample, feature in zip(data_samples, features):
            sample.feature = feature
        return data_samples

    def _maps(self, inputs: Tensor) -> tuple[Tensor, ...]:
        if self.channels_last:
            inputs = inputs.contiguous(memory_format=torch.channels_last)
        return self.backbone(inputs)

    @staticmethod
    def _labels(data_samples: list[DataSample]) -> Tensor:
        missing = [s for s in data_samples if 'gt_label' not in s]
        if missing:
            raise RuntimeError(
                f'{missing[0].get("img_path", "an image")} has no pseudo-label. '
                "train_dataloader needs sampler=dict(type='PKSampler', ...), its data "
                'set must be one of mmreid_gcl, and custom_hooks a '
                "dict(type='PseudoLabelHook', ...)."
            )
        return torch.cat([sample.gt_label for sample in data_samples])
