# k-reciprocal Jaccard distance, then Infomap on its graph (pip install infomap).
_base_ = './dbscan.py'
default_hooks = dict(
    pseudo_labels=dict(
        clusterer=dict(
            _delete_=True,
            type='InfomapClusterer',
            eps=0.6,
            k1=30,
            k2=6)))
