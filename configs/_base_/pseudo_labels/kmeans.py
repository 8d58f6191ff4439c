# k-means; the number of clusters is a guess that fits no data set exactly.
_base_ = './dbscan.py'
default_hooks = dict(
    pseudo_labels=dict(
        clusterer=dict(
            _delete_=True,
            type='KMeansClusterer',
            num_clusters=700)))
