# The recipe with HDBSCAN in place of DBSCAN: no radius to choose.
_base_ = './best_synthetic.py'
default_hooks = dict(
    pseudo_labels=dict(
        clusterer=dict(
            clusterer=dict(
                _delete_=True,
                type='HDBSCANClusterer',
                min_cluster_size=2,
                k1=8,
                k2=2,
                knn=dict(intra=1)))))
