# The method on vehicles: VeRi-776. The paper has no such experiment. Only the data
# set, the image shape and the graphs differ from those for people.
_base_ = './gcl_market.py'
data_root = 'data/veri776'
# Vehicles are as wide as tall.
train_pipeline = _base_.train_pipeline
train_pipeline[1].scale = (256, 256)
train_pipeline[3].crop_size = (256, 256)
test_pipeline = _base_.test_pipeline
test_pipeline[1].scale = (256, 256)
train_dataloader = dict(
    dataset=dict(
        type='VeRi776', data_root=data_root, pipeline=train_pipeline))
val_dataloader = dict(
    dataset=dict(type='VeRi776', data_root=data_root, pipeline=test_pipeline))
test_dataloader = val_dataloader
default_hooks = dict(
    pseudo_labels=dict(
        graphs=dict(
            _delete_=True, type='NeighbourGraphs', size=16, mutual=True),
        refine_begin=2))
