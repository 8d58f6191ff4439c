# The method on rendered people (tools/data/make_synthetic.py), sized for two
# CPU cores: a small ResNet from scratch on 64 x 32 images, 8 x 8 batches.
_base_ = [
    './_base_/models/gcl_resnet50.py', './_base_/datasets/reid_256x128.py',
    './_base_/schedules/adam_60e.py', './_base_/clusterers/dbscan.py',
    './_base_/default_runtime.py'
]
data_root = 'data/synthetic'

model = dict(
    channels_last=True,
    backbone=dict(
        depth=18, strides=(1, 2, 2, 1), init_cfg=None, out_indices=(3, )),
    neck=dict(in_channels=512),
    head=dict(in_channels=512),
    relation_neck=dict(in_channels=512),
    relation_head=dict(in_channels=1024))

train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(32, 64), interpolation='bilinear'),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='RandomCrop', crop_size=(64, 32), padding=3),
    # Without ImageNet weights, colour is what an untrained network sees first:
    # jitter makes it give up the cast of a camera.
    dict(type='ColorJitter', brightness=0.3, contrast=0.3, saturation=0.3),
    dict(
        type='RandomErasing',
        erase_prob=0.5,
        fill_color=(103.53, 116.28, 123.675)),
    dict(type='PackInputs', meta_keys=('sample_idx', 'img_path')),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(32, 64), interpolation='bilinear'),
    dict(
        type='PackInputs',
        meta_keys=('sample_idx', 'img_path', 'pid', 'camid', 'is_query')),
]
train_dataloader = dict(
    num_workers=2,
    sampler=dict(num_identities=8, num_instances=8, num_batches=50),
    dataset=dict(
        type='Market1501', data_root=data_root, pipeline=train_pipeline))
val_dataloader = dict(
    num_workers=2,
    dataset=dict(
        type='Market1501', data_root=data_root, pipeline=test_pipeline))
test_dataloader = val_dataloader

param_scheduler = [dict(type='StepLR', by_epoch=True, step_size=8, gamma=0.1)]
train_cfg = dict(max_epochs=12, val_interval=4)
default_hooks = dict(logger=dict(interval=10))
custom_hooks = [
    dict(type='PositionSeedHook'),
    dict(
        type='PseudoLabelHook',
        clusterer=_base_.clusterer,
        graphs=dict(type='OrderedGraphs', order='camera_time', size=16),
        extract=dict(pipeline=test_pipeline, batch_size=256, num_workers=2)),
]
