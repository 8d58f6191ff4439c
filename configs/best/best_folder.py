# The recipe without labels on your own crops. Only data_root is needed.
#   python tools/train.py configs/gcl_folder.py --cfg-options data_root=crops
# The first sub-folder names the camera; docs/own_data.md has other ways. Its parts were
# chosen on the synthetic set (docs/results.md).
_base_ = [
    '../_base_/models/gcl_resnet50.py', '../_base_/datasets/reid_256x128.py',
    '../_base_/schedules/adam_60e.py', '../_base_/pseudo_labels/dbscan.py'
]
data_root = 'data/crops'
model = dict(
    neck=dict(pooling='gem'),
    head=[
        dict(type='CameraProxyHead', in_channels=2048),
        dict(
            type='SelectiveMemoryHead', in_channels=2048, topk=4),
        dict(type='InstanceContrastHead'),
    ],
    relation_neck=None,
    relation_head=None)
train_dataloader = dict(
    sampler=dict(num_batches=400, spread_cameras=True),
    dataset=dict(type='PersonFolder', data_root=data_root))
# Without labels there is no validation. The log still has clusters, outliers, their
# stability (ARI with the epoch before) and the silhouette on the Jaccard graph.
val_dataloader = None
val_cfg = None
val_evaluator = None
# For tools/test.py, if you label some crops in the folders query and gallery.
test_dataloader = dict(
    dataset=dict(type='PersonFolder', data_root=data_root, split='test'))
default_hooks = dict(
    pseudo_labels=dict(
        # 30 and 6, fewer of less than 900 images
        clusterer=dict(eps=0.5, k1=None, k2=None),
        # image and mirror image
        extract=dict(flip=True),
        # every camera's light and colours taken out
        camera_norm='standardize',
        refine=False),
    # keeps best_label_free_epoch_*.pth, by a heuristic score of these numbers
    label_free_best=dict(type='LabelFreeBestHook'))
