# Own crops with graphs by camera and time, refined from the first epoch on. They
# need good times, and were the worst of all graphs on the rendered set
# (docs/results.md): a person's images of other cameras never meet in them.
_base_ = './gcl_folder.py'
default_hooks = dict(
    pseudo_labels=dict(
        graphs=dict(
            _delete_=True, type='OrderedGraphs', order='camera_time', size=16),
        refine_begin=0))
