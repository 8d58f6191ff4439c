# Table 2, model 1, on Market-1501: the baseline, without SCL, CR and NS.
_base_ = '../gcl_market.py'
model = dict(
    head=dict(policy='average'), relation_neck=None, relation_head=None)
default_hooks = dict(pseudo_labels=dict(refine=False, graphs=None))
