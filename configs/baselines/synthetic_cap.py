# CAP (Wang et al., AAAI 2021) on the synthetic set: a proxy for each cluster in each
# camera, intra- and inter-camera loss.
_base_ = '../gcl_synthetic.py'
model = dict(
    head=dict(
        _delete_=True, type='CameraProxyHead', in_channels=_base_.model.neck.in_channels),
    relation_neck=None,
    relation_head=None)
train_dataloader = dict(sampler=dict(spread_cameras=True))
default_hooks = dict(pseudo_labels=dict(refine=False, graphs=None))
