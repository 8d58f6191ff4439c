# The method on your own crops: no labels, nothing to give but data_root.
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
# Without labels there is no validation. What the log says of the pseudo-labels
# needs none: clusters, outliers, their stability (ARI with the epoch before)
# and the silhouette on the Jaccard graph.
val_dataloader = None
val_cfg = None
val_evaluator = None
# For tools/test.py, if you label some crops in the folders query and gallery.
test_dataloader = dict(
    dataset=dict(type='PersonFolder', data_root=data_root, split='test'))
default_hooks = dict(
    pseudo_labels=dict(
        # Mutual nearest neighbours: of the graphs that see no identity they held
        # most images of one person (docs/experiments.md), where graphs by camera
        # and time trained the worst of all on the rendered set (docs/results.md;
        # gcl_folder_camera_time.py has them). From the third epoch on: the
        # attention of an untrained GCL is almost uniform and smears strangers.
        graphs=dict(type='NeighbourGraphs', size=16, mutual=True),
        refine_begin=2),
    # best_label_free_epoch_*.pth, by a score of those signs; a heuristic
    label_free_best=dict(type='LabelFreeBestHook'))
