# Table 3 on DukeMTMC-reID: one update with the mean query of a cluster (model 1).
_base_ = '../ablation/duke_model1.py'
