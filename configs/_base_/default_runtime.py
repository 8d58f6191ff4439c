default_scope = 'mmreid_gcl'
custom_imports = dict(imports=['mmreid_gcl'])
default_hooks = dict(
    timer=dict(type='TimeLeftHook'),
    logger=dict(type='LoggerHook', interval=50),
    param_scheduler=dict(type='ParamSchedulerHook'),
    # The last checkpoints, not the best by the test set's labels.
    checkpoint=dict(type='AtomicCheckpointHook', interval=1, max_keep_ckpts=2),
    finite_loss=dict(type='FiniteLossHook'),
    # Compares the training images with those of the run that is resumed.
    training_images=dict(type='TrainingImagesHook'),
    sampler_seed=dict(type='DistSamplerSeedHook'),
    position_seed=dict(type='PositionSeedHook'))
env_cfg = dict(
    cudnn_benchmark=True,
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0),
    # other ranks wait while rank 0 clusters
    dist_cfg=dict(backend='nccl', timeout=7200))
visualizer = dict(
    type='Visualizer', vis_backends=[dict(type='LocalVisBackend')])
log_level = 'INFO'
log_processor = dict(window_size=50)
load_from = None
resume = False
randomness = dict(seed=1)
