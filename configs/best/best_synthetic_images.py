# The recipe without labels on the synthetic set, for images without tracks: GeM pooling,
# camera statistics taken out, mirror images for the clustering, CAP's proxies, centroids
# and ICE's instance contrast. docs/results.md has what was measured.
_base_ = '../gcl_synthetic.py'
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
        extract=dict(flip=True),
        camera_norm='standardize',
        refine=False,
        graphs=None))
