# Label-free graphs on Market-1501: images that follow each other in a camera.
_base_ = './gcl_market.py'
custom_hooks = _base_.custom_hooks
custom_hooks[1].graphs = dict(type='OrderedGraphs', order='camera_time', size=16)
