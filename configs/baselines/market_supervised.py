# With labels, on Market-1501: what results without labels are read against. Identity
# loss with label smoothing, and batch-hard triplets on the feature before the batch norm
# (BNNeck).
_base_ = '../gcl_market.py'
model = dict(
    head=[
        dict(type='IdentityHead', in_channels=2048, num_classes=751),
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
