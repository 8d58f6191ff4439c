# Label-free graphs on MSMT17: images that follow each other in a camera.
_base_ = './gcl_msmt17.py'
default_hooks = dict(pseudo_labels=dict(graphs=dict(order='camera_time')))
