# Own crops with graphs by camera and time, refined from the first epoch on. They need
# good times. On the synthetic set they were the worst graphs (docs/results.md): they
# hold no images of a person from other cameras.
_base_ = './gcl_folder.py'
default_hooks = dict(
    pseudo_labels=dict(
        graphs=dict(
            _delete_=True, type='OrderedGraphs', order='camera_time', size=16),
        refine_begin=0))
