# Without labels on Market-1501: the best variant of those measured on the
# rendered set (docs/results.md). Mutual nearest neighbours, from the third epoch on,
# since the attention of an untrained GCL is almost uniform and smears strangers; the
# statistics of each camera are taken out of what is clustered.
_base_ = './gcl_market.py'
default_hooks = dict(
    pseudo_labels=dict(
        graphs=dict(
            _delete_=True, type='NeighbourGraphs', size=16, mutual=True),
        refine_begin=2,
        camera_norm='standardize'))
