# The recipe without labels on Market-1501, whose images come without tracks. Its parts
# were chosen on the synthetic set (docs/results.md); nothing of it was run on this set.
_base_ = '../gcl_market.py'
model = dict(
    neck=dict(pooling='gem'),
    head=[
        dict(type='CameraProxyHead', in_channels=_base_.model.neck.in_channels),
        dict(
            type='SelectiveMemoryHead', in_channels=_base_.model.neck.in_channels, topk=4),
        dict(type='InstanceContrastHead'),
    ],
    relation_neck=None,
    relation_head=None)
train_dataloader = dict(sampler=dict(spread_cameras=True))
default_hooks = dict(
    pseudo_labels=dict(
        clusterer=dict(eps=0.5),
        extract=dict(flip=True),
        camera_norm='standardize',
        refine=False,
        graphs=None))
