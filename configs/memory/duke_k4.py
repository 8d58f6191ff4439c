# Table 3 on DukeMTMC-reID: updates with the 4 hardest queries of a cluster.
_base_ = '../ablation/duke_model3.py'
model = dict(head=dict(topk=4))
