# Table 3 on DukeMTMC-reID: one update with a random query of a cluster.
_base_ = '../ablation/duke_model1.py'
model = dict(head=dict(policy='random'))
