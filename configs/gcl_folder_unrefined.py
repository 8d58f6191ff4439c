# Own crops without cluster refinement (model 4 of table 2): x is clustered, and the
# graphs serve the memory of the relation head alone. The safe choice if groups look
# wrong once refinement begins.
_base_ = './gcl_folder.py'
custom_hooks = _base_.custom_hooks
custom_hooks[1].refine = False
custom_hooks[1].refine_begin = 0
