# "Mind Your Clever Neighbours" on DukeMTMC-reID, as in the paper (model 6 of table 2).
_base_ = [
    './_base_/models/gcl_resnet50.py', './_base_/datasets/reid_256x128.py',
    './_base_/schedules/adam_60e.py', './_base_/clusterers/dbscan.py',
    './_base_/default_runtime.py'
]
data_root = 'data/dukemtmc-reid'
train_dataloader = dict(
    sampler=dict(num_batches=400),
    dataset=dict(type='DukeMTMCreID', data_root=data_root))
val_dataloader = dict(dataset=dict(type='DukeMTMCreID', data_root=data_root))
test_dataloader = val_dataloader
custom_hooks = [
    dict(type='PositionSeedHook'),
    dict(
        type='PseudoLabelHook',
        clusterer=_base_.clusterer,
        # The paper sorts by file name, which begins with the identity: this
        # leaks labels into the clustering. order='camera_time' does not.
        graphs=dict(type='OrderedGraphs', order='filename', size=16),
        extract=dict(
            pipeline=_base_.test_pipeline, batch_size=256, num_workers=4)),
]
