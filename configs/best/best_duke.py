# The recipe without labels on DukeMTMC-reID; see best_market.py.
_base_ = './best_market.py'
data_root = 'data/dukemtmc-reid'
train_dataloader = dict(dataset=dict(type='DukeMTMCreID', data_root=data_root))
val_dataloader = dict(dataset=dict(type='DukeMTMCreID', data_root=data_root))
test_dataloader = val_dataloader
