# Table 3 on DukeMTMC-reID: updates with the 2 hardest queries of a cluster (model 3).
_base_ = '../ablation/duke_model3.py'
model = dict(head=dict(topk=2))
