# With labels, on Market-1501: the upper bound for results without labels. Identity
# loss with label smoothing, and batch-hard triplets on the feature before the batch
# norm (BNNeck).
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
    pseudo_labels=None,
    memory=None,
    # In place of PseudoLabelHook, this averages the ranks' running statistics.
    sync_buffers=dict(type='SyncBuffersHook'))
