# Table 2, model 5, on Market-1501: cluster refinement (CR) and NS, without SCL.
_base_ = '../gcl_market.py'
model = dict(
    head=dict(policy='average'), relation_head=dict(policy='average'))
