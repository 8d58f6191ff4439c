# k-means. Set num_clusters for your data; 700 is a guess.
_base_ = './dbscan.py'
default_hooks = dict(
    pseudo_labels=dict(
        clusterer=dict(
            _delete_=True,
            type='KMeansClusterer',
            num_clusters=700)))
