# Cluster Contrast (Dai et al., 2021) on MSMT17: one memory of centroids. The
# queries of a cluster update it one after the other. Batches have 16 x 16 images, from
# as many cameras as a cluster has.
_base_ = '../gcl_msmt17.py'
model = dict(
    samples_per_bn=64,  # of four GPUs, as published
    head=dict(policy='sequential', momentum=0.1),
    relation_neck=None,
    relation_head=None)
train_dataloader = dict(
    sampler=dict(num_identities=16, num_instances=16, spread_cameras=True))
default_hooks = dict(pseudo_labels=dict(refine=False, graphs=None))
