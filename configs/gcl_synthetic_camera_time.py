# Label-free graphs on the synthetic set: the base config has this order already.
_base_ = './gcl_synthetic.py'
