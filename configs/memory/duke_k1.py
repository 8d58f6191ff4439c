# Table 3 on DukeMTMC-reID: updates with the hardest query of a cluster.
_base_ = '../ablation/duke_model3.py'
model = dict(head=dict(topk=1))
