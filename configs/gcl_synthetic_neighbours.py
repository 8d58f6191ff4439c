# Without labels on the synthetic set: mutual nearest neighbours as graphs, each camera's
# statistics taken out before clustering. Refinement begins in the third epoch: before,
# GCL is untrained and its attention almost uniform. Of GCL's graphs without labels the
# best on the synthetic set, measured with topk=4 in both heads (docs/results.md).
_base_ = './gcl_synthetic.py'
default_hooks = dict(
    pseudo_labels=dict(
        graphs=dict(
            _delete_=True, type='NeighbourGraphs', size=16, mutual=True),
        refine_begin=2,
        camera_norm='standardize'))
