# Label-free graphs on Market-1501: images that follow each other in a camera.
_base_ = './gcl_market.py'
default_hooks = dict(pseudo_labels=dict(graphs=dict(order='camera_time')))
