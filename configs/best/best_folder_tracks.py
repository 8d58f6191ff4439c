# The recipe on crops with tracks (docs/own_data.md#from-a-tracker): each track is
# clustered by its mean; two tracks of one camera and moment are never one person.
_base_ = './best_folder.py'
train_dataloader = dict(sampler=dict(spread_tracks=True))
default_hooks = dict(
    pseudo_labels=dict(
        clusterer=dict(
            _delete_=True,
            type='TrackClusterer',
            clusterer=dict(
                type='DBSCANClusterer',
                eps=0.5,
                min_samples=2,
                k1=8,
                k2=2,
                knn=dict(intra=1)))))
