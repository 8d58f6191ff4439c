# Adam, 3.5e-4, divided by 10 every 20 epochs, 60 epochs.
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='Adam', lr=3.5e-4, weight_decay=5e-4))
param_scheduler = [dict(type='StepLR', by_epoch=True, step_size=20, gamma=0.1)]
train_cfg = dict(type='ResumableTrainLoop', max_epochs=60, val_interval=5)
val_cfg = dict()
test_cfg = dict()
# --auto-scale-lr: lr in proportion to P x K
auto_scale_lr = dict(enable=False, base_batch_size=128)
