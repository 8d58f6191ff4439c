# Without labels on MSMT17: the best label-free variant on the synthetic set
# (docs/results.md). Graphs are mutual nearest neighbours. Refinement begins in the
# third epoch: before, GCL is untrained and its attention almost uniform. Each
# camera's statistics are taken out before clustering.
_base_ = './gcl_msmt17.py'
default_hooks = dict(
    pseudo_labels=dict(
        graphs=dict(
            _delete_=True, type='NeighbourGraphs', size=16, mutual=True),
        refine_begin=2,
        camera_norm='standardize'))
