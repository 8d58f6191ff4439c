# The method on CUHK03: 767 people to train on, 700 to test, detected crops. For crops
# that were cut out by hand set crops='labeled' in both data sets. The paper has no such
# experiment. tools/dataset_converters/cuhk03.py makes the folders.
_base_ = './gcl_market.py'
data_root = 'data/cuhk03'
train_dataloader = dict(
    dataset=dict(type='CUHK03', data_root=data_root, crops='detected'))
val_dataloader = dict(
    dataset=dict(type='CUHK03', data_root=data_root, crops='detected'))
test_dataloader = val_dataloader
default_hooks = dict(
    pseudo_labels=dict(
        graphs=dict(
            _delete_=True, type='NeighbourGraphs', size=16, mutual=True),
        refine_begin=2))
