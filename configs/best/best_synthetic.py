# The recipe without labels on the synthetic set. Each track is clustered by its mean;
# two tracks of one camera and moment are never one person.
_base_ = './best_synthetic_images.py'
default_hooks = dict(
    pseudo_labels=dict(
        clusterer=dict(
            _delete_=True,
            type='TrackClusterer',
            # a person has a few tracks, of which one is in the own camera
            clusterer=dict(
                type='DBSCANClusterer',
                eps=0.5,
                min_samples=2,
                k1=8,
                k2=2,
                knn=dict(intra=1)))))
