# Table 2, model 4, on DukeMTMC-reID: SCL and NS.
_base_ = '../gcl_duke.py'
default_hooks = dict(pseudo_labels=dict(refine=False))
