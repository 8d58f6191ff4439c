# "Mind Your Clever Neighbours" on Market-1501, as in the paper (model 6 of table 2).
_base_ = [
    './_base_/models/gcl_resnet50.py', './_base_/datasets/reid_256x128.py',
    './_base_/schedules/adam_60e.py', './_base_/pseudo_labels/dbscan.py'
]
data_root = 'data/market1501'
train_dataloader = dict(
    sampler=dict(num_batches=400),
    dataset=dict(type='Market1501', data_root=data_root))
val_dataloader = dict(dataset=dict(type='Market1501', data_root=data_root))
test_dataloader = val_dataloader
default_hooks = dict(
    pseudo_labels=dict(
        # The paper's order. File names begin with the identity, so it leaks
        # labels (docs/method.md). order='camera_time' does not.
        graphs=dict(type='OrderedGraphs', order='filename', size=16)))
