# Table 2, model 1, on DukeMTMC-reID: the baseline, without SCL, CR and NS.
_base_ = '../gcl_duke.py'
model = dict(
    head=dict(policy='average'), relation_neck=None, relation_head=None)
custom_hooks = _base_.custom_hooks
custom_hooks[1].update(refine=False, graphs=None)
