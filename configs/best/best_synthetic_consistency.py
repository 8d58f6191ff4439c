# The recipe with ICE's soft consistency: a batch's images are as similar to each other
# after flip, crop, colours and erasing as before. docs/results.md has what it brought.
_base_ = './best_synthetic.py'
model = dict(
    head=[
        dict(type='CameraProxyHead', in_channels=1280),
        dict(type='SelectiveMemoryHead', in_channels=1280, topk=4),
        dict(type='InstanceContrastHead', consistency=10.0),
    ])
train_dataloader = dict(
    dataset=dict(
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='Resize', scale=(48, 96)),
            dict(type='WeakView'),
            dict(type='RandomFlip', prob=0.5, direction='horizontal'),
            dict(type='RandomCrop', crop_size=(96, 48), padding=4),
            dict(
                type='ColorJitter', brightness=0.3, contrast=0.3,
                saturation=0.3),
            dict(
                type='RandomErasing',
                erase_prob=0.5,
                fill_color=(103.53, 116.28, 123.675)),
            dict(
                type='PackInputs',
                algorithm_keys=('weak_view', ),
                meta_keys=('sample_idx', 'img_path', 'camid')),
        ]))
