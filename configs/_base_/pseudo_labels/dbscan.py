# Clustering before every epoch: k-reciprocal Jaccard distance (k1, k2), then DBSCAN
# with alpha = 0.6 (eps) and beta = 4 (min_samples). Includes default_runtime.py.
_base_ = '../default_runtime.py'
default_hooks = dict(
    pseudo_labels=dict(
        type='PseudoLabelHook',
        clusterer=dict(
            type='DBSCANClusterer', eps=0.6, min_samples=4, k1=30, k2=6),
        extract=dict(batch_size=256, num_workers=4)),
    memory=dict(type='MemoryHook'))
