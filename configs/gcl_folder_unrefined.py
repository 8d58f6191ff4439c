# Own crops without cluster refinement (model 4 of table 2). x is clustered; the graphs
# serve the memory of the relation head alone. Take it if clusters get worse when
# refinement begins.
_base_ = './gcl_folder.py'
default_hooks = dict(pseudo_labels=dict(refine=False, refine_begin=0))
