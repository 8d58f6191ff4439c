# SpCL (Ge et al., NeurIPS 2020) on the synthetic set: centroids of reliable clusters and
# un-clustered instances.
_base_ = '../gcl_synthetic.py'
model = dict(
    head=dict(
        _delete_=True, type='HybridMemoryHead', in_channels=_base_.model.neck.in_channels),
    relation_neck=None,
    relation_head=None)
train_dataloader = dict(sampler=dict(outliers='own_class'))
default_hooks = dict(
    pseudo_labels=dict(
        clusterer=dict(_delete_=True, type='SelfPacedClusterer', eps=0.5),
        refine=False,
        graphs=None))
