# The recipe with Infomap in place of DBSCAN (pip install infomap).
_base_ = './best_synthetic.py'
default_hooks = dict(
    pseudo_labels=dict(
        clusterer=dict(
            clusterer=dict(
                _delete_=True,
                type='InfomapClusterer',
                eps=0.5,
                k1=8,
                k2=2,
                knn=dict(intra=1)))))
