# Table 2, model 2, on the synthetic set: noise suppression (NS) alone.
_base_ = '../gcl_synthetic.py'
model = dict(
    head=dict(policy='average'), relation_head=dict(policy='average'))
default_hooks = dict(pseudo_labels=dict(refine=False))
