# The method on Market-1501 with IBN-ResNet-50-a and its ImageNet weights.
_base_ = '../gcl_market.py'
custom_imports = dict(imports=['mmreid_gcl', 'mmreid_gcl.models.backbones'])
model = dict(
    backbone=dict(
        type='IBNResNet',
        init_cfg=dict(
            type='Pretrained',
            checkpoint='https://github.com/XingangPan/IBN-Net/releases/'
            'download/v1.0/resnet50_ibn_a-d9d0bb7b.pth')))
