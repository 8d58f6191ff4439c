# Table 2, model 5, on the synthetic set: cluster refinement (CR) and NS, without SCL.
_base_ = '../gcl_synthetic.py'
model = dict(
    head=dict(policy='average'), relation_head=dict(policy='average'))
