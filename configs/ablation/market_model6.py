# Table 2, model 6, on Market-1501: SCL, CR and NS, all of the method.
_base_ = '../gcl_market.py'
