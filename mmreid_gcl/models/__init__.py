# SPDX-License-Identifier: Apache-2.0
"""Networks, losses and memories; torch only."""

from .backbones.ibn_resnet import IBNResNet
from .batch import BatchImages, gather_batch
from .functional import selective_contrastive_loss, update_memory
from .heads.base_memory_head import BaseMemoryHead
from .heads.camera_proxy_head import CameraProxyHead
from .heads.hybrid_memory_head import HybridMemoryHead
from .heads.instance_contrast_head import InstanceContrastHead
from .heads.neighbour_label_head import NeighbourLabelHead
from .heads.selective_memory_head import SelectiveMemoryHead
from .heads.supervised_heads import IdentityHead, TripletHead
from .necks.embedding_neck import EmbeddingNeck
from .necks.gcl_neck import GCLNeck
from .norm_statistics import reestimate_norms
from .reidentifiers.unsupervised_reid import UnsupervisedReID
from .sub_batch_norm import SubBatchNorm2d

__all__ = [
    'BaseMemoryHead',
    'BatchImages',
    'CameraProxyHead',
    'EmbeddingNeck',
    'GCLNeck',
    'HybridMemoryHead',
    'IBNResNet',
    'IdentityHead',
    'InstanceContrastHead',
    'NeighbourLabelHead',
    'SelectiveMemoryHead',
    'SubBatchNorm2d',
    'TripletHead',
    'UnsupervisedReID',
    'gather_batch',
    'reestimate_norms',
    'selective_contrastive_loss',
    'update_memory',
]
