# Control: the pseudo-labels of the first epoch for the whole training.
_base_ = '../gcl_synthetic.py'
custom_hooks = _base_.custom_hooks
custom_hooks[1].clusterer = dict(
    type='FrozenLabels', clusterer=custom_hooks[1].clusterer)
# the second clustering, for the report, would be dealt or frozen likewise
custom_hooks[1].compare_unrefined = False
