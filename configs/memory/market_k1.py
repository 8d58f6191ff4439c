# Table 3 on Market-1501: updates with the hardest query of a cluster.
_base_ = '../ablation/market_model3.py'
model = dict(head=dict(topk=1))
