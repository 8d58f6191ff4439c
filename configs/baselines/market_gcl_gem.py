# The method on Market-1501 with generalised-mean pooling.
_base_ = '../gcl_market.py'
model = dict(neck=dict(pooling='gem'))
