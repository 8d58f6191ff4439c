# Table 2, model 4, on Market-1501: SCL and NS.
_base_ = '../gcl_market.py'
default_hooks = dict(pseudo_labels=dict(refine=False))
