# The paper's graphs on the synthetic set, whose file names begin with the
# identity as well: this leaks labels into the clustering.
_base_ = './gcl_synthetic.py'
default_hooks = dict(pseudo_labels=dict(graphs=dict(order='filename')))
