# Table 2, model 3, on the synthetic set: selective contrastive learning (SCL) alone.
_base_ = '../gcl_synthetic.py'
model = dict(relation_neck=None, relation_head=None)
custom_hooks = _base_.custom_hooks
custom_hooks[1].update(refine=False, graphs=None)
