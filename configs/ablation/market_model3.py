# Table 2, model 3, on Market-1501: selective contrastive learning (SCL) alone.
_base_ = '../gcl_market.py'
model = dict(relation_neck=None, relation_head=None)
default_hooks = dict(pseudo_labels=dict(refine=False, graphs=None))
