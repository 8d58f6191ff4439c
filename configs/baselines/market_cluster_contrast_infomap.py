# Cluster Contrast on Market-1501 with Infomap in place of DBSCAN
# (pip install infomap).
_base_ = './market_cluster_contrast.py'
default_hooks = dict(
    pseudo_labels=dict(
        clusterer=dict(
            _delete_=True,
            type='InfomapClusterer',
            eps=0.5,
            min_cluster_size=2,
            k1=30,
            k2=6)))
