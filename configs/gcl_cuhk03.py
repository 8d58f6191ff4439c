# The method on CUHK03 (767 people to train on, 700 to test), detected crops; for
# those cut out by hand set crops='labeled' in both data sets. The paper has no such
# experiment. tools/dataset_converters/cuhk03.py makes the folders.
_base_ = './gcl_market.py'
data_root = 'data/cuhk03'
train_dataloader = dict(
    dataset=dict(type='CUHK03', data_root=data_root, crops='detected'))
val_dataloader = dict(
    dataset=dict(type='CUHK03', data_root=data_root, crops='detected'))
test_dataloader = val_dataloader
custom_hooks = _base_.custom_hooks
# There are no times, and names begin with the identity: neighbours as graphs.
custom_hooks[1].graphs = dict(type='NeighbourGraphs', size=16, mutual=True)
custom_hooks[1].refine_begin = 2
