# k-reciprocal Jaccard distance, then HDBSCAN: clusters of different densities.
_base_ = './dbscan.py'
default_hooks = dict(
    pseudo_labels=dict(
        clusterer=dict(
            _delete_=True,
            type='HDBSCANClusterer',
            min_cluster_size=4,
            max_distance=0.8,
            k1=30,
            k2=6)))
