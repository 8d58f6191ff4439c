# A model of one rendered world goes on with the other, without labels (docs/adapt.md).
_base_ = '../best/best_synthetic.py'
data_root = 'data/synthetic_second'
load_from = ''  # to be given; has all weights of the backbone
model = dict(backbone=dict(init_cfg=None))
train_dataloader = dict(dataset=dict(data_root=data_root))
val_dataloader = dict(dataset=dict(data_root=data_root))
test_dataloader = val_dataloader
optim_wrapper = dict(optimizer=dict(lr=1e-4))
param_scheduler = [dict(type='StepLR', by_epoch=True, step_size=4, gamma=0.1)]
train_cfg = dict(max_epochs=5)
