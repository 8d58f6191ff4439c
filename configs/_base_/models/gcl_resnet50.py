# ResNet-50 without classifier, stride 1 in the last stage; GAP, BN and L2 give
# the 2048-dimensional embedding x; GCL gives the 4096-dimensional one of eq. 4.
model = dict(
    type='UnsupervisedReID',
    data_preprocessor=dict(
        type='ClsDataPreprocessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        to_rgb=True),
    backbone=dict(
        type='ResNet',
        depth=50,
        strides=(1, 2, 2, 1),
        out_indices=(3, ),
        init_cfg=dict(type='Pretrained', checkpoint='torchvision://resnet50')),
    neck=dict(type='EmbeddingNeck', in_channels=2048),
    # k = 2, eta = 0.2 (the sensitivity analysis of the paper has 0.1), tau = 0.05
    head=dict(
        type='SelectiveMemoryHead',
        in_channels=2048,
        topk=2,
        momentum=0.2,
        temperature=0.05),
    relation_neck=dict(type='GCLNeck', in_channels=2048, temperature=5.0),
    relation_head=dict(
        type='SelectiveMemoryHead',
        in_channels=4096,
        topk=2,
        momentum=0.2,
        temperature=0.05,
        loss_weight=0.5))  # lambda
