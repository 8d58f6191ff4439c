# Table 3 on Market-1501: updates with the 2 hardest queries of a cluster (model 3).
_base_ = '../ablation/market_model3.py'
model = dict(head=dict(topk=2))
