# Table 3 on Market-1501: one update with a random query of a cluster.
_base_ = '../ablation/market_model1.py'
model = dict(head=dict(policy='random'))
