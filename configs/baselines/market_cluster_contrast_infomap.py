# Cluster Contrast on Market-1501 with Infomap in place of DBSCAN (needs the package
# infomap).
_base_ = './market_cluster_contrast.py'
custom_hooks = _base_.custom_hooks
custom_hooks[1].clusterer = dict(
    type='InfomapClusterer', eps=0.5, min_cluster_size=2, k1=30, k2=6)
