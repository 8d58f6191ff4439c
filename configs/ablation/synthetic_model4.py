# Table 2, model 4, on the synthetic set: SCL and NS.
_base_ = '../gcl_synthetic.py'
default_hooks = dict(pseudo_labels=dict(refine=False))
