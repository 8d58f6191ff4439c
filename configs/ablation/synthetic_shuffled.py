# Control: pseudo-labels dealt to the images at random.
_base_ = '../gcl_synthetic.py'
default_hooks = dict(
    pseudo_labels=dict(
        clusterer=dict(
            _delete_=True,
            type='ShuffledLabels',
            clusterer=_base_.default_hooks.pseudo_labels.clusterer),
        compare_unrefined=False))
