# Control: the pseudo-labels of the first epoch for the whole training.
_base_ = '../gcl_synthetic.py'
custom_hooks = _base_.custom_hooks
custom_hooks[1].clusterer = dict(
    type='FrozenLabels', clusterer=custom_hooks[1].clusterer)
