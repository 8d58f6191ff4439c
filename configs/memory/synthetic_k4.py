# Table 3 on the synthetic set: updates with the 4 hardest queries of a cluster.
_base_ = '../ablation/synthetic_model3.py'
model = dict(head=dict(topk=4))
