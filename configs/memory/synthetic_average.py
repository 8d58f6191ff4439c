# Table 3 on the synthetic set: one update with the mean query of a cluster (model 1).
_base_ = '../ablation/synthetic_model1.py'
