# The method on your own crops, without labels. Only data_root is needed.
#   python tools/train.py configs/gcl_folder.py --cfg-options data_root=crops
# The first sub-folder names the camera; docs/own_data.md has other ways.
_base_ = [
    './_base_/models/gcl_resnet50.py', './_base_/datasets/reid_256x128.py',
    './_base_/schedules/adam_60e.py', './_base_/pseudo_labels/dbscan.py'
]
data_root = 'data/crops'
train_dataloader = dict(
    sampler=dict(num_batches=400),
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
        clusterer=dict(k1=None, k2=None),
        # Mutual nearest neighbours were the best label-free graphs on the
        # synthetic set, graphs by camera and time the worst (docs/results.md).
        # Refinement begins in the third epoch: before, GCL is untrained and its
        # attention almost uniform.
        graphs=dict(type='NeighbourGraphs', size=16, mutual=True),
        refine_begin=2),
    # keeps best_label_free_epoch_*.pth, by a heuristic score of these numbers
    label_free_best=dict(type='LabelFreeBestHook'))
