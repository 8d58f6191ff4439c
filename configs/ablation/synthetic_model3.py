# Table 2, model 3, on the synthetic set: selective contrastive learning (SCL) alone.
_base_ = '../gcl_synthetic.py'
model = dict(relation_neck=None, relation_head=None)
default_hooks = dict(pseudo_labels=dict(refine=False, graphs=None))
