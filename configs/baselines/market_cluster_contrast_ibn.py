# Cluster Contrast on Market-1501 with the settings of its public log: IBN-ResNet-50-a,
# GeM, hardest query, eps 0.4, 50 epochs. docs/data/expected has that log's numbers for
# tools/analysis/plot_curves.py --expect.
_base_ = ['./market_gcl_ibn.py']
model = dict(
    samples_per_bn=64,  # of four GPUs, as published
    neck=dict(pooling='gem'),
    head=dict(policy='selective', topk=1, loss_queries='all', momentum=0.1),
    relation_neck=None,
    relation_head=None)
train_dataloader = dict(
    sampler=dict(num_identities=16, num_instances=16, spread_cameras=True))
train_cfg = dict(max_epochs=50, val_interval=10)
default_hooks = dict(
    pseudo_labels=dict(clusterer=dict(eps=0.4), refine=False, graphs=None))
