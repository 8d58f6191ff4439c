# "Mind Your Clever Neighbours" on MSMT17, as in the paper (model 6 of table 2).
_base_ = [
    './_base_/models/gcl_resnet50.py', './_base_/datasets/reid_256x128.py',
    './_base_/schedules/adam_60e.py', './_base_/pseudo_labels/dbscan.py'
]
data_root = 'data/msmt17'
train_dataloader = dict(
    sampler=dict(num_batches=800),
    dataset=dict(type='MSMT17', data_root=data_root))
val_dataloader = dict(dataset=dict(type='MSMT17', data_root=data_root))
test_dataloader = val_dataloader
default_hooks = dict(
    pseudo_labels=dict(
        # The paper's order. File names begin with the identity, so it leaks
        # labels (docs/method.md). order='camera_time' does not.
        graphs=dict(type='OrderedGraphs', order='filename', size=16)))
