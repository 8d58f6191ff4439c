# Own crops without cluster refinement (model 4 of table 2): x is clustered, and the
# graphs serve the memory of the relation head alone. The safe choice if groups look
# wrong once refinement begins.
_base_ = './gcl_folder.py'
default_hooks = dict(pseudo_labels=dict(refine=False, refine_begin=0))
