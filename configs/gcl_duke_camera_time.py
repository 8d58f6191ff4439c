# Label-free graphs on DukeMTMC-reID: images that follow each other in a camera.
_base_ = './gcl_duke.py'
default_hooks = dict(pseudo_labels=dict(graphs=dict(order='camera_time')))
