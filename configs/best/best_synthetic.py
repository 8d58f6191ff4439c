# The recipe without labels on the synthetic set.
_base_ = '../gcl_synthetic.py'
model = dict(
    neck=dict(pooling='gem'),
    head=[
        dict(type='CameraProxyHead', in_channels=_base_.model.neck.in_channels),
        dict(type='InstanceContrastHead'),
    ],
    relation_neck=None,
    relation_head=None)
train_dataloader = dict(sampler=dict(spread_cameras=True))
default_hooks = dict(
    pseudo_labels=dict(
        clusterer=dict(
            _delete_=True,
            type='TrackClusterer',
            clusterer=dict(
                type='DBSCANClusterer', eps=0.5, min_samples=2, k1=10, k2=2, knn=dict(intra=1))),
        extract=dict(ema=True, flip=True),
        camera_norm='standardize',
        refine=False,
        graphs=None),
    ema=dict(type='EMAHook', momentum=0.01))
