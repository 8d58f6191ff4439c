# SPDX-License-Identifier: Apache-2.0
"""UnsupervisedReID: backbone, embedding neck, GCL neck and heads."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from mmengine.model import BaseModel
from mmpretrain.structures import DataSample
from torch import Tensor, nn

from mmreid_gcl.registry import MODELS

from ..batch import gather_batch, gather_images, weak_views
from ..functional.numerics import at_least_float32
from ..heads.base_memory_head import BaseMemoryHead
from ..last_stride import set_last_stride
from ..norm_statistics import keeping_statistics
from ..pretrained import initialize
from ..sub_batch_norm import use_sub_batches


@MODELS.register_module()
class UnsupervisedReID(BaseModel):
    """A backbone, an embedding, and heads that train it.

    With GCL it is Mind Your Clever Neighbours without the clustering:
    ``L = L_scl(x) + lambda * L_scl(GCL(x))`` (eq. 8), each against its own memory;
    lambda is the ``loss_weight`` of the relation head. Evaluation uses x alone.

    A head is a module with ``loss(features, labels, images)`` that gives a dict of
    losses, mostly a :class:`BaseMemoryHead`. Its attribute ``feature`` names what it
    works on: 'embedding' (x), 'pooled' (before the neck's batch norm), 'normed'
    (after it, before the unit length), or 'relation' (GCL(x)).

    Args:
        backbone (dict): Config of any backbone of mmpretrain or timm.
        neck (dict): Config of the embedding neck.
        head (dict | list[dict]): Config of the head, or of several.
        relation_neck (dict, optional): Config of the GCL neck. Without it the
            model is one without noise suppression and cluster refinement
            (models 1 and 3 of table 2).
        relation_head (dict, optional): Config of the head on GCL(x). Its losses have
            the prefix ``relation_``.
        flip_test (bool): Average the embeddings of an image and its mirror
            image in evaluation. Defaults to False.
        channels_last (bool): Run the backbone in channels-last memory format,
            which is faster. Defaults to False.
        samples_per_bn (int, optional): Images that the backbone's batch norm sees at a
            time, to repeat on one GPU what several computed
            (:class:`~mmreid_gcl.models.SubBatchNorm2d`). Defaults to all of a process.
        last_stride (int, optional): Stride of the backbone's last reduction of the
            map, such as 1 (:func:`~mmreid_gcl.models.last_stride.set_last_stride`).
            Defaults to the backbone's own.
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
        head: dict | list[dict],
        relation_neck: dict | None = None,
        relation_head: dict | None = None,
        flip_test: bool = False,
        channels_last: bool = False,
        samples_per_bn: int | None = None,
        last_stride: int | None = None,
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
        if last_stride is not None:
            set_last_stride(self.backbone, last_stride)
        if samples_per_bn is not None:
            use_sub_batches(self.backbone, samples_per_bn)
        self.neck = MODELS.build(neck)
        self.head: nn.Module = (
            nn.ModuleList([MODELS.build(item) for item in head])
            if isinstance(head, (list, tuple))
            else MODELS.build(head)
        )
        self.relation_neck: nn.Module | None = (
            MODELS.build(relation_neck) if relation_neck else None
        )
        self.relation_head: nn.Module | None = (
            MODELS.build(relation_head) if relation_head else None
        )
        if self.relation_head is not None:
            self.relation_head.feature = 'relation'
        parts = list(self.head) if isinstance(self.head, nn.ModuleList) else [self.head]
        kinds = [type(part) for part in parts]
        heads = [  # of two heads of one type each loss needs a name
            (f'{part.feature}_' if kinds.count(type(part)) > 1 else '', part)
            for part in parts
        ]
        names = [(prefix, type(part)) for prefix, part in heads]
        if len(set(names)) < len(names):
            raise ValueError(
                'model.head has two heads of one type on one feature, whose losses '
                'would have one name. Give them different features.'
            )
        if self.relation_head is not None:
            heads.append(('relation_', self.relation_head))
        #: Every head, after the prefix of its losses.
        self.heads = heads
        needs = {n for _, h in heads for n in getattr(h, 'needs', ())}
        self._needs_weak = 'weak' in needs
        self._needs = sorted(needs - {'weak'})
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

    def init_weights(self) -> None:
        """Initialise; pretrained weights that do not fit the backbone are refused."""
        initialize(self.backbone, super().init_weights)

    @property
    def memory_heads(self) -> list[BaseMemoryHead]:
        """The heads that keep a memory."""
        return [head for _, head in self.heads if isinstance(head, BaseMemoryHead)]

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
            data_samples (list[DataSample]): n samples with ``gt_label``, the
                pseudo-label, and what the heads need.

        Returns:
            dict[str, Tensor]: The losses of all heads: ``loss_scl`` and, with GCL,
            ``relation_loss_scl``.
        """
        features = self._features(inputs)
        device = features['embedding'].device
        images = gather_images(data_samples, self._needs, device)
        weak: dict[str, Tensor] = {}
        if self._needs_weak:
            # after the other views: autocast keeps the weights that it has lowered, and
            # of a pass without gradient they would have none
            views = self.data_preprocessor(dict(inputs=weak_views(data_samples)))
            with torch.no_grad(), keeping_statistics(self):
                weak = self._features(views['inputs'])
        losses: dict[str, Tensor] = {}
        for prefix, head in self.heads:
            images = images._replace(weak=weak.get(head.feature))
            found = head.loss(features[head.feature], images.labels, images)
            named = {f'{prefix}{name}': loss for name, loss in found.items()}
            for name in named.keys() & losses.keys():
                raise ValueError(
                    f'Two heads give a loss {name!r}, of which one would be lost. Give '
                    f'that of {type(head).__name__} another name.'
                )
            losses.update(named)
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

    def _features(self, inputs: Tensor) -> dict[str, Tensor]:
        """What heads work on, of the global batch."""
        pooled = self.neck.pool(self._maps(inputs))
        pooled = gather_batch(at_least_float32(pooled))
        features = self.neck(pooled, parts=True)
        if self.relation_neck is not None:
            features['relation'] = self.relation_neck(features['embedding'])
        return features

    def _maps(self, inputs: Tensor) -> tuple[Tensor, ...]:
        if self.channels_last:
            inputs = inputs.contiguous(memory_format=torch.channels_last)
        return self.backbone(inputs)
