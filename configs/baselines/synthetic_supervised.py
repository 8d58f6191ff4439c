# With labels, on the synthetic set: the upper bound for results without labels.
_base_ = '../gcl_synthetic.py'
model = dict(
    head=[
        dict(type='IdentityHead', in_channels=1280, num_classes=110),
        dict(type='TripletHead', margin=0.3),
    ],
    relation_neck=None,
    relation_head=None)
train_dataloader = dict(sampler=dict(labels='pid'))
default_hooks = dict(
    pseudo_labels=None,
    memory=None,
    # In place of PseudoLabelHook, this averages the ranks' running statistics.
    sync_buffers=dict(type='SyncBuffersHook'))
