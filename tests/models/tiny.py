# SPDX-License-Identifier: Apache-2.0
"""A small model of the real kind: ResNet-18 of 4 channels, 32 at its end."""

import torch
from mmpretrain.structures import DataSample

from mmreid_gcl.registry import MODELS

CHANNELS = 32


def model_cfg(relation=True, **kwargs):
    cfg = dict(
        type='UnsupervisedReID',
        backbone=dict(
            type='ResNet',
            depth=18,
            stem_channels=4,
            base_channels=4,
            strides=(1, 2, 2, 1),
            out_indices=(3,),
        ),
        neck=dict(type='EmbeddingNeck', in_channels=CHANNELS),
        head=dict(type='SelectiveMemoryHead', in_channels=CHANNELS),
        **kwargs,
    )
    if relation:
        cfg.update(
            relation_neck=dict(type='GCLNeck', in_channels=CHANNELS),
            relation_head=dict(
                type='SelectiveMemoryHead', in_channels=2 * CHANNELS, loss_weight=0.5
            ),
        )
    return cfg


def make_model(seed=0, clusters=3, **kwargs):
    """A model with memories of random unit vectors."""
    torch.manual_seed(seed)
    model = MODELS.build(model_cfg(**kwargs))
    for head in model.memory_heads:
        head.init_memory(
            torch.randn(clusters, head.in_channels), torch.arange(clusters)
        )
    return model


def make_batch(labels, seed=0, height=32, width=16):
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(len(labels), 3, height, width, generator=generator)
    samples = []
    for i, label in enumerate(labels):
        sample = DataSample()
        sample.set_field(f'{i:04d}.jpg', 'img_path', field_type='metainfo')
        if label is not None:
            sample.set_gt_label(label)
        samples.append(sample)
    return images, samples
