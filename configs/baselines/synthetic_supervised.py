# With labels, on the synthetic set: what results without labels are read against.
_base_ = '../gcl_synthetic.py'
model = dict(
    head=[
        dict(type='IdentityHead', in_channels=1280, num_classes=120),
        dict(type='TripletHead', margin=0.3),
    ],
    relation_neck=None,
    relation_head=None)
train_dataloader = dict(sampler=dict(labels='pid'))
default_hooks = dict(
    # An empty hook is left out.
    pseudo_labels=dict(_delete_=True),
    memory=dict(_delete_=True),
    # The hook that clusters is not there; this one makes the ranks' running
    # statistics one.
    sync_buffers=dict(type='SyncBuffersHook'))
