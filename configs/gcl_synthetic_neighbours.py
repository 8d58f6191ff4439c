# Without labels on the synthetic set: the best variant of those measured on the
# rendered set (docs/results.md). Mutual nearest neighbours, from the third epoch on,
# since the attention of an untrained GCL is almost uniform and smears strangers; the
# statistics of each camera are taken out of what is clustered.
_base_ = './gcl_synthetic.py'
custom_hooks = _base_.custom_hooks
custom_hooks[1].graphs = dict(type='NeighbourGraphs', size=16, mutual=True)
custom_hooks[1].refine_begin = 2
custom_hooks[1].camera_norm = 'standardize'
