# The recipe with soft consistency of two views (after ICE): an augmented image should be
# as similar to the batch's images as the image itself is.
_base_ = './best_synthetic.py'
model = dict(
    head=[
        *_base_.model.head[:-1],
        dict(_base_.model.head[-1], consistency=10.0),
    ])
train_dataloader = dict(
    dataset=dict(
        pipeline=[
            *_base_.train_pipeline[:2],  # read and resized
            dict(type='WeakView'),
            *_base_.train_pipeline[2:-1],
            dict(_base_.train_pipeline[-1], algorithm_keys=('weak_view', )),
        ]))
