# The method on the synthetic set (tools/data/make_synthetic.py), sized for two
# CPU cores: MobileNetV2 with ImageNet weights, 96 x 48 images, 16 identities x
# 4 images. `make demo` prepares images and weights.
_base_ = [
    './_base_/models/gcl_resnet50.py', './_base_/datasets/reid_256x128.py',
    './_base_/schedules/adam_60e.py', './_base_/pseudo_labels/dbscan.py'
]
data_root = 'data/synthetic'

model = dict(
    channels_last=True,
    last_stride=1,
    backbone=dict(
        _delete_=True,
        type='MobileNetV2',
        out_indices=(7, ),
        init_cfg=dict(
            type='Pretrained',
            prefix='backbone.',
            checkpoint='data/weights/mobilenet_v2_imagenet.pth')),
    neck=dict(in_channels=1280),
    head=dict(in_channels=1280),
    relation_neck=dict(in_channels=1280),
    relation_head=dict(in_channels=2560))

train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(48, 96)),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='RandomCrop', crop_size=(96, 48), padding=4),
    # Synthetic cameras differ more in colour than real ones.
    dict(type='ColorJitter', brightness=0.3, contrast=0.3, saturation=0.3),
    dict(
        type='RandomErasing',
        erase_prob=0.5,
        fill_color=(103.53, 116.28, 123.675)),
    dict(type='PackInputs', meta_keys=('sample_idx', 'img_path', 'camid')),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(48, 96)),
    dict(
        type='PackInputs',
        meta_keys=(
            'sample_idx', 'img_path', 'pid', 'camid', 'is_query', 'track')),
]
train_dataloader = dict(
    num_workers=2,
    sampler=dict(num_identities=16, num_instances=4, num_batches=50),
    dataset=dict(
        type='Market1501', data_root=data_root, pipeline=train_pipeline))
val_dataloader = dict(
    batch_size=128,
    num_workers=2,
    dataset=dict(
        type='Market1501', data_root=data_root, pipeline=test_pipeline))
test_dataloader = val_dataloader

param_scheduler = [dict(type='StepLR', by_epoch=True, step_size=7, gamma=0.1)]
train_cfg = dict(max_epochs=10, val_interval=5)
auto_scale_lr = dict(base_batch_size=64)
default_hooks = dict(
    logger=dict(interval=10),
    pseudo_labels=dict(
        # eps is below the paper's 0.6: many small clusters to begin with
        clusterer=dict(eps=0.5),
        # camera and time: no identity in the order
        graphs=dict(type='OrderedGraphs', order='camera_time', size=16),
        extract=dict(batch_size=128, num_workers=2)))
