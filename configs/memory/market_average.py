# Table 3 on Market-1501: one update with the mean query of a cluster (model 1).
_base_ = '../ablation/market_model1.py'
