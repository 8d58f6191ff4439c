# A trained model goes on with your own crops, without labels (docs/adapt.md).
#   python tools/train.py configs/adapt/adapt_folder.py --cfg-options data_root=crops load_from=model.pth
_base_ = '../gcl_folder.py'
load_from = ''  # to be given; has all weights of the backbone
model = dict(backbone=dict(init_cfg=None))
optim_wrapper = dict(optimizer=dict(lr=1e-4))
param_scheduler = [dict(type='StepLR', by_epoch=True, step_size=14, gamma=0.1)]
train_cfg = dict(max_epochs=20)
