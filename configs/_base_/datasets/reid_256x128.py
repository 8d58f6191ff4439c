# 16 identities x 8 images; 256 x 128; flip, pad 10, crop, random erasing.
# A config that builds on this one sets type and data_root of the data sets.
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(128, 256), interpolation='bicubic'),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='RandomCrop', crop_size=(256, 128), padding=10),
    dict(
        type='RandomErasing',
        erase_prob=0.5,
        fill_color=(103.53, 116.28, 123.675)),  # BGR mean
    dict(type='PackInputs', meta_keys=('sample_idx', 'img_path', 'camid')),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(128, 256), interpolation='bicubic'),
    dict(
        type='PackInputs',
        meta_keys=(
            'sample_idx', 'img_path', 'pid', 'camid', 'is_query', 'track')),
]
train_dataloader = dict(
    batch_size='auto',  # identities x instances / processes
    num_workers=4,
    persistent_workers=True,
    pin_memory=True,
    collate_fn=dict(type='default_collate'),
    sampler=dict(
        type='PKSampler', num_identities=16, num_instances=8, num_batches=400),
    dataset=dict(split='train', pipeline=train_pipeline))
val_dataloader = dict(
    batch_size=128,
    num_workers=4,
    persistent_workers=True,
    pin_memory=True,
    collate_fn=dict(type='default_collate'),
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(split='test', pipeline=test_pipeline, test_mode=True))
val_evaluator = dict(type='ReIDMetric')
test_dataloader = val_dataloader
test_evaluator = val_evaluator
