# The recipe without labels on MSMT17; see best_market.py.
_base_ = './best_market.py'
data_root = 'data/msmt17'
train_dataloader = dict(
    sampler=dict(num_batches=800), dataset=dict(type='MSMT17', data_root=data_root))
val_dataloader = dict(dataset=dict(type='MSMT17', data_root=data_root))
test_dataloader = val_dataloader
