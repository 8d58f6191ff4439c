# Table 3 on the synthetic set: one update with a random query of a cluster.
_base_ = '../ablation/synthetic_model1.py'
model = dict(head=dict(policy='random'))
