# Label-free graphs on DukeMTMC-reID: images that follow each other in a camera.
_base_ = './gcl_duke.py'
custom_hooks = _base_.custom_hooks
custom_hooks[1].graphs = dict(type='OrderedGraphs', order='camera_time', size=16)
