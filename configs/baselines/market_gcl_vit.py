# The method on Market-1501 with a vision transformer (DeiT-small, ImageNet
# weights of mmpretrain's model zoo); the class token is the embedding.
_base_ = '../gcl_market.py'
model = dict(
    backbone=dict(
        _delete_=True,
        type='VisionTransformer',
        arch='deit-small',
        img_size=(256, 128),
        patch_size=16,
        out_type='cls_token',
        init_cfg=dict(
            type='Pretrained',
            prefix='backbone.',
            checkpoint='https://download.openmmlab.com/mmclassification/v0/deit/'
            'deit-small_pt-4xb256_in1k_20220218-9425b9bb.pth')),
    neck=dict(in_channels=384),
    head=dict(in_channels=384),
    relation_neck=dict(in_channels=384),
    relation_head=dict(in_channels=768))
