# Table 2, model 6, on the synthetic set: SCL, CR and NS, all of the method.
_base_ = '../gcl_synthetic.py'
