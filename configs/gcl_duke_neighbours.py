# Label-free graphs on DukeMTMC-reID: mutual nearest neighbours, from the third epoch
# on. The attention of an untrained GCL is almost uniform and smears strangers.
_base_ = './gcl_duke.py'
custom_hooks = _base_.custom_hooks
custom_hooks[1].graphs = dict(type='NeighbourGraphs', size=16, mutual=True)
custom_hooks[1].refine_begin = 2
