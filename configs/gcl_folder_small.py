# Own crops without a GPU, or for a first try: ResNet-18, 128 x 64, short epochs.
_base_ = './gcl_folder.py'
model = dict(
    channels_last=True,
    backbone=dict(
        depth=18,
        init_cfg=dict(
            type='Pretrained', checkpoint='torchvision://resnet18')),
    # width of the features
    neck=dict(in_channels=512),
    head=[
        dict(type='CameraProxyHead', in_channels=512),
        dict(type='SelectiveMemoryHead', in_channels=512, topk=4),
        dict(type='InstanceContrastHead'),
    ])
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(64, 128), interpolation='bicubic'),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='RandomCrop', crop_size=(128, 64), padding=5),
    dict(
        type='RandomErasing',
        erase_prob=0.5,
        fill_color=(103.53, 116.28, 123.675)),
    dict(type='PackInputs', meta_keys=('sample_idx', 'img_path', 'camid')),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(64, 128), interpolation='bicubic'),
    dict(
        type='PackInputs',
        meta_keys=(
            'sample_idx', 'img_path', 'pid', 'camid', 'is_query', 'track')),
]
train_dataloader = dict(
    num_workers=2,
    sampler=dict(num_identities=16, num_instances=4, num_batches=50),
    dataset=dict(pipeline=train_pipeline))
test_dataloader = dict(num_workers=2, dataset=dict(pipeline=test_pipeline))
default_hooks = dict(
    pseudo_labels=dict(extract=dict(batch_size=128, num_workers=2)))
train_cfg = dict(max_epochs=20)
param_scheduler = [dict(type='StepLR', by_epoch=True, step_size=14, gamma=0.1)]
auto_scale_lr = dict(base_batch_size=64)
