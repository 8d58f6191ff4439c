# Clusters before every epoch: k-reciprocal Jaccard distance (k1, k2), then DBSCAN:
# alpha = 0.6, beta = 4. With the runtime that all configs share.
_base_ = '../default_runtime.py'
default_hooks = dict(
    pseudo_labels=dict(
        type='PseudoLabelHook',
        clusterer=dict(
            type='DBSCANClusterer', eps=0.6, min_samples=4, k1=30, k2=6),
        extract=dict(batch_size=256, num_workers=4)),
    memory=dict(type='MemoryHook'))
