# SPDX-License-Identifier: Apache-2.0
"""A model small enough for tests of everything around it."""

import cv2
import numpy as np
import torch
from mmengine.config import Config

from mmreid_gcl.registry import MODELS

CHANNELS = 64
SIZE = (32, 16)  # height, width
TEST_PIPELINE = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=SIZE[::-1], interpolation='bicubic'),
    dict(type='PackInputs', meta_keys=('sample_idx', 'img_path', 'pid', 'camid')),
]


def tiny_cfg(relation=False, **model):
    """ResNet-18 of 8 channels on 32 x 16 images."""
    model = dict(
        type='UnsupervisedReID',
        data_preprocessor=dict(
            type='ClsDataPreprocessor',
            mean=[123.675, 116.28, 103.53],
            std=[58.395, 57.12, 57.375],
            to_rgb=True,
        ),
        backbone=dict(
            type='ResNet',
            depth=18,
            stem_channels=8,
            base_channels=8,
            strides=(1, 2, 2, 1),
            out_indices=(3,),
            init_cfg=None,
        ),
        neck=dict(type='EmbeddingNeck', in_channels=CHANNELS),
        head=dict(type='SelectiveMemoryHead', in_channels=CHANNELS),
        **model,
    )
    if relation:
        model.update(
            relation_neck=dict(type='GCLNeck', in_channels=CHANNELS),
            relation_head=dict(type='SelectiveMemoryHead', in_channels=2 * CHANNELS),
        )
    return Config(dict(model=model, test_pipeline=TEST_PIPELINE))


def two_stages(**model):
    """What is exported is as varied, the graph is smaller."""
    cfg = tiny_cfg(**model)
    cfg.model.backbone.update(
        num_stages=2, strides=(1, 2), dilations=(1, 1), out_indices=(1,)
    )
    cfg.model.neck.update(in_channels=16, pooling='gem')
    cfg.model.head.in_channels = 16
    return cfg


def make_model(seed=0, cfg=None):
    """With batch norms that do something, as if it were trained."""
    torch.manual_seed(seed)
    model = MODELS.build((cfg or tiny_cfg()).model)
    model.init_weights()
    for module in model.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
    return model.eval()


def save_checkpoint(path, seed=0, cfg=None, with_config=True):
    cfg = cfg or tiny_cfg()
    meta = dict(cfg=cfg.pretty_text) if with_config else {}
    model = make_model(seed, cfg)
    torch.save(dict(meta=meta, state_dict=model.state_dict()), path)
    return path


def draw(person, shot=0, height=40, width=20):
    """A crop of a person in two colours, blue green red."""
    rng = np.random.default_rng(person)
    top, bottom = rng.integers(0, 256, (2, 3))
    image = np.empty((height, width, 3), np.int64)
    image[: height // 2], image[height // 2 :] = top, bottom
    noise = np.random.default_rng([person, shot]).integers(-20, 21, image.shape)
    return np.clip(image + noise, 0, 255).astype(np.uint8)


def write(path, image):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode(path.suffix, image)[1].tobytes())
    return path


def write_crops(folder, people=4, shots=2, cameras=('entrance', 'hall')):
    """<camera>/<person>_<shot>.png"""
    for camera, name in enumerate(cameras):
        for person in range(people):
            for shot in range(shots):
                image = draw(person, 10 * camera + shot)
                write(folder / name / f'{person:02d}_{shot}.png', image)
    return folder
