# The paper's graphs on the synthetic set. Its file names begin with the identity
# too, so the order leaks labels (docs/method.md).
_base_ = './gcl_synthetic.py'
default_hooks = dict(pseudo_labels=dict(graphs=dict(order='filename')))
