# best_folder_tracks without a GPU: ResNet-18, 128 x 64, short epochs.
_base_ = '../gcl_folder_small.py'
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
