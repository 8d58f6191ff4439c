# Label-free graphs on MSMT17: images that follow each other in a camera.
_base_ = './gcl_msmt17.py'
custom_hooks = _base_.custom_hooks
custom_hooks[1].graphs = dict(type='OrderedGraphs', order='camera_time', size=16)
