# SPDX-License-Identifier: Apache-2.0
"""Networks, losses and memories; torch only."""

from .backbones.ibn_resnet import IBNResNet
from .functional import selective_contrastive_loss, update_memory
from .gather import gather_batch
from .heads.selective_memory_head import SelectiveMemoryHead
from .necks.embedding_neck import EmbeddingNeck
from .necks.gcl_neck import GCLNeck
from .reidentifiers.unsupervised_reid import UnsupervisedReID

__all__ = [
    'EmbeddingNeck',
    'GCLNeck',
    'IBNResNet',
    'SelectiveMemoryHead',
    'UnsupervisedReID',
    'gather_batch',
    'selective_contrastive_loss',
    'update_memory',
]
