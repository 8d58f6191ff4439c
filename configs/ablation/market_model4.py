# Table 2, model 4, on Market-1501: SCL and NS.
_base_ = '../gcl_market.py'
custom_hooks = _base_.custom_hooks
# x is clustered; the graphs only serve the memory of the relation head
custom_hooks[1].update(refine=False)
