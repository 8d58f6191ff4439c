# Control: the pseudo-labels of the first epoch for the whole training.
_base_ = '../gcl_synthetic.py'
default_hooks = dict(
    pseudo_labels=dict(
        clusterer=dict(
            _delete_=True,
            type='FrozenLabels',
            clusterer=_base_.default_hooks.pseudo_labels.clusterer),
        compare_unrefined=False))
