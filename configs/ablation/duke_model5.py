# Table 2, model 5, on DukeMTMC-reID: cluster refinement (CR) and NS, without SCL.
_base_ = '../gcl_duke.py'
model = dict(
    head=dict(policy='average'), relation_head=dict(policy='average'))
