# SPDX-License-Identifier: Apache-2.0
"""configs/gcl_folder.py with GCL in place of the recipe, small enough for a test."""

from tests.apis.tiny import TEST_PIPELINE, tiny_cfg

from .conftest import TOOLS

FOLDER = TOOLS.parent / 'configs' / 'gcl_folder.py'


def write_small_config(path):
    """With a small model, two epochs of three batches, and small images."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        f'_base_ = {str(FOLDER)!r}\n'
        f'model = {{**{tiny_cfg(relation=True).model.to_dict()!r}, "_delete_": True}}\n'
        f'test_pipeline = {TEST_PIPELINE!r}\n'
        "test_pipeline[-1]['meta_keys'] += ('is_query',)\n"
        'train_pipeline = [*test_pipeline[:2], dict(type="RandomFlip", prob=0.5),\n'
        '    dict(type="PackInputs", meta_keys=("sample_idx", "img_path"))]\n'
        'train_dataloader = dict(num_workers=0, persistent_workers=False,\n'
        '    sampler=dict(num_identities=4, num_instances=4, num_batches=3),\n'
        '    dataset=dict(pipeline=train_pipeline))\n'
        'test_dataloader = dict(num_workers=0, persistent_workers=False,\n'
        '    dataset=dict(pipeline=test_pipeline))\n'
        'train_cfg = dict(max_epochs=2)\n'
        'default_hooks = dict(pseudo_labels=dict(refine=True, camera_norm=None,\n'
        '    clusterer=dict(eps=0.7, min_samples=2, k1=8, k2=3),\n'
        '    graphs=dict(type="OrderedGraphs", order="camera_time", size=8),\n'
        '    extract=dict(_delete_=True, batch_size=16, num_workers=0)),\n'
        '    label_free_best=None)\n'
    )
    return path
