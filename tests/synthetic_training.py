# SPDX-License-Identifier: Apache-2.0
"""A training small enough for a test: its images and its config."""

from pathlib import Path

from mmengine.config import Config

from mmreid_gcl.datasets.synthetic import Difficulty, Layout, write_synthetic

ROOT = Path(__file__).resolve().parents[1]


def write_people(out: Path, seed: int = 0, **layout) -> Path:
    """Some hundred images, on which a network from scratch can begin."""
    sizes = dict(
        num_train_ids=16,
        num_test_ids=12,
        num_cameras=3,
        visit_rate=1.0,
        tracklet_length=5,
        junk=0.0,
        distractors=0.0,
    )
    sizes.update(layout)
    write_synthetic(
        out,
        Layout(**sizes),
        Difficulty().scaled(0.5),
        height=64,
        width=32,
        seed=seed,
        workers=1,
    )
    return out


def small_config(data_root: Path, work_dir: Path, **overrides) -> Config:
    """The method with a tiny ResNet, on images that :func:`write_people` made."""
    pipeline = [
        dict(type='LoadImageFromFile'),
        dict(type='RandomFlip', prob=0.5),
        dict(type='RandomCrop', crop_size=(64, 32), padding=3),
        dict(type='ColorJitter', brightness=0.3, contrast=0.3, saturation=0.3),
        dict(type='PackInputs'),
    ]
    test_pipeline = [
        dict(type='LoadImageFromFile'),
        dict(
            type='PackInputs',
            meta_keys=('sample_idx', 'img_path', 'pid', 'camid', 'is_query'),
        ),
    ]
    dataset = dict(type='Market1501', data_root=str(data_root))
    collate = dict(type='default_collate')
    val_dataloader = dict(
        batch_size=64,
        num_workers=0,
        collate_fn=collate,
        sampler=dict(type='DefaultSampler', shuffle=False),
        dataset=dict(dataset, split='test', pipeline=test_pipeline, test_mode=True),
    )
    cfg = Config(
        dict(
            default_scope='mmreid_gcl',
            work_dir=str(work_dir),
            model=dict(
                type='UnsupervisedReID',
                data_preprocessor=dict(
                    mean=[123.675, 116.28, 103.53],
                    std=[58.395, 57.12, 57.375],
                    to_rgb=True,
                ),
                backbone=dict(
                    type='ResNet',
                    depth=18,
                    stem_channels=16,
                    base_channels=16,
                    strides=(1, 2, 2, 1),
                    out_indices=(3,),
                ),
                neck=dict(type='EmbeddingNeck', in_channels=128),
                head=dict(type='SelectiveMemoryHead', in_channels=128),
                relation_neck=dict(type='GCLNeck', in_channels=128),
                relation_head=dict(
                    type='SelectiveMemoryHead', in_channels=256, loss_weight=0.5
                ),
            ),
            train_dataloader=dict(
                batch_size=32,
                num_workers=0,
                collate_fn=collate,
                sampler=dict(
                    type='PKSampler', num_identities=8, num_instances=4, num_batches=10
                ),
                dataset=dict(dataset, pipeline=pipeline),
            ),
            train_cfg=dict(type='EpochBasedTrainLoop', max_epochs=5, val_interval=5),
            optim_wrapper=dict(optimizer=dict(type='Adam', lr=1e-3)),
            val_dataloader=val_dataloader,
            val_cfg=dict(),
            val_evaluator=dict(type='ReIDMetric'),
            test_dataloader=val_dataloader,
            test_cfg=dict(),
            test_evaluator=dict(type='ReIDMetric'),
            default_hooks=dict(
                position_seed=dict(type='PositionSeedHook'),
                pseudo_labels=dict(
                    type='PseudoLabelHook',
                    clusterer=dict(
                        type='DBSCANClusterer', eps=0.5, min_samples=2, k1=8, k2=3
                    ),
                    graphs=dict(type='OrderedGraphs', order='camera_time', size=8),
                    extract=dict(batch_size=64, num_workers=0),
                ),
                memory=dict(type='MemoryHook'),
            ),
            randomness=dict(seed=1),
            log_level='WARNING',
        )
    )
    cfg.merge_from_dict(overrides)
    return cfg
