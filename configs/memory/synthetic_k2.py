# Table 3 on the synthetic set: updates with the 2 hardest queries of a cluster (model 3).
_base_ = '../ablation/synthetic_model3.py'
model = dict(head=dict(topk=2))
