# Table 2, model 6, on DukeMTMC-reID: SCL, CR and NS, all of the method.
_base_ = '../gcl_duke.py'
