# The method on the synthetic set with generalised-mean pooling.
_base_ = '../gcl_synthetic.py'
model = dict(neck=dict(pooling='gem'))
