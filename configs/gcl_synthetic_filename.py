# The paper's graphs on the synthetic set, whose file names begin with the
# identity as well: this leaks labels into the clustering.
_base_ = './gcl_synthetic.py'
custom_hooks = _base_.custom_hooks
custom_hooks[1].graphs = dict(type='OrderedGraphs', order='filename', size=16)
