# SPDX-License-Identifier: Apache-2.0
"""A training of seconds, in processes that can be killed."""

import multiprocessing
import os
import signal
import subprocess
import time
import uuid
from pathlib import Path
from unittest import mock

import cv2
import numpy as np
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmengine.runner import runner as runner_module

import mmreid_gcl.checkpoint
import mmreid_gcl.clustering
import mmreid_gcl.datasets
import mmreid_gcl.engine
import mmreid_gcl.evaluation
import mmreid_gcl.models
import mmreid_gcl.visualization
import mmreid_gcl.work_dir
from mmreid_gcl.registry import HOOKS

EPOCHS, BATCHES = 3, 4
_PIPELINE = [
    dict(type='LoadImageFromFile'),
    dict(
        type='PackInputs',
        meta_keys=('sample_idx', 'img_path', 'pid', 'camid', 'is_query'),
    ),
]
_TRAIN_PIPELINE = [
    dict(type='LoadImageFromFile'),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='RandomCrop', crop_size=(32, 16), padding=3),
    dict(type='RandomErasing', erase_prob=0.5),
    dict(type='PackInputs', meta_keys=('sample_idx', 'img_path')),
]


def draw_images(root: Path) -> Path:
    """Striped people of 32 x 16, in Market-1501's layout."""
    rng = np.random.default_rng(0)
    parts = {
        'bounding_box_train': range(1, 7),
        'query': range(7, 11),
        'bounding_box_test': range(7, 11),
    }
    for part, pids in parts.items():
        (root / part).mkdir(parents=True)
        cameras = (1,) if part == 'query' else (1, 2, 3)
        for pid in pids:
            colours = np.random.default_rng(pid).integers(0, 256, (4, 1, 3))
            person = np.repeat(np.repeat(colours, 8, 0), 16, 1)
            for camera in cameras:
                for shot in range(2 if part == 'bounding_box_train' else 1):
                    image = person + rng.integers(-20, 20, (32, 16, 3))
                    name = f'{pid:04d}_c{camera}s1_{pid * 100 + shot:06d}_01.jpg'
                    image = image.clip(0, 255).astype(np.uint8)
                    cv2.imwrite(str(root / part / name), image)
    return root


def make_config(root, work_dir, workers=0, persistent=False, resume=False, **more):
    """A small GCL training on the images of :func:`draw_images`.

    ``more`` are further settings, as in ``--cfg-options``.
    """
    loading = dict(num_workers=workers, persistent_workers=persistent)
    loading['collate_fn'] = dict(type='default_collate')
    data = dict(type='Market1501', data_root=str(root))
    val_dataloader = dict(
        **loading,
        batch_size=8,
        sampler=dict(type='DefaultSampler', shuffle=False),
        dataset=dict(**data, split='test', pipeline=_PIPELINE, test_mode=True),
    )
    config = dict(
        default_scope='mmreid_gcl',
        custom_imports=dict(imports=['mmreid_gcl']),
        work_dir=str(work_dir),
        experiment_name=uuid.uuid4().hex,  # mmengine keeps state by this name
        model=dict(
            type='UnsupervisedReID',
            data_preprocessor=dict(
                type='ClsDataPreprocessor', mean=[127.5] * 3, std=[60.0] * 3
            ),
            backbone=dict(
                type='ResNet',
                depth=18,
                num_stages=3,
                strides=(1, 2, 1),
                dilations=(1, 1, 1),
                stem_channels=16,
                base_channels=16,
                out_indices=(2,),
            ),
            neck=dict(type='EmbeddingNeck', in_channels=64),
            head=dict(type='SelectiveMemoryHead', in_channels=64, policy='random'),
            relation_neck=dict(type='GCLNeck', in_channels=64),
            relation_head=dict(type='SelectiveMemoryHead', in_channels=128),
        ),
        train_dataloader=dict(
            **loading,
            batch_size=8,
            sampler=dict(
                type='PKSampler',
                num_identities=4,
                num_instances=2,
                num_batches=BATCHES,
            ),
            dataset=dict(**data, split='train', pipeline=_TRAIN_PIPELINE),
        ),
        val_dataloader=val_dataloader,
        val_evaluator=dict(type='ReIDMetric'),
        train_cfg=dict(type='ResumableTrainLoop', max_epochs=EPOCHS, val_interval=1),
        val_cfg=dict(),
        optim_wrapper=dict(
            type='OptimWrapper',
            optimizer=dict(type='Adam', lr=1e-3),
            accumulative_counts=1,
        ),
        param_scheduler=[
            dict(type='StepLR', by_epoch=True, step_size=2),
            dict(type='LinearLR', by_epoch=False, start_factor=0.1, end=6),
        ],
        default_hooks=dict(
            timer=dict(type='TimeLeftHook'),
            logger=dict(type='LoggerHook', interval=2),
            param_scheduler=dict(type='ParamSchedulerHook'),
            checkpoint=dict(type='AtomicCheckpointHook', interval=1, max_keep_ckpts=2),
            sampler_seed=dict(type='DistSamplerSeedHook'),
            position_seed=dict(type='PositionSeedHook'),
            finite_loss=dict(type='FiniteLossHook'),
            pseudo_labels=dict(
                type='PseudoLabelHook',
                clusterer=dict(
                    type='DBSCANClusterer', eps=0.6, min_samples=2, k1=6, k2=2
                ),
                graphs=dict(type='OrderedGraphs', order='random', size=4),
                extract=dict(pipeline=_PIPELINE, batch_size=16, num_workers=workers),
            ),
            memory=dict(type='MemoryHook'),
        ),
        custom_hooks=[],
        env_cfg=dict(mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0)),
        randomness=dict(seed=3),
        log_level='WARNING',
        resume=resume,
    )
    config = Config(config)
    config.merge_from_dict(more)
    return config


def build(config) -> Runner:
    """A runner, without seconds of calling compilers and formatting the config."""
    with (
        mock.patch.object(runner_module, 'collect_env', dict),
        mock.patch.object(Config, 'pretty_text', property(_plain_text)),
    ):
        return Runner.from_cfg(config)


def _plain_text(config):
    return repr(config.to_dict())


def train(config) -> Runner:
    """Train in this process, on one thread, so that all are the same."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        runner = build(config)
        with mock.patch.object(Config, 'pretty_text', property(_plain_text)):
            runner.train()
    finally:
        torch.set_num_threads(before)
    return runner


@HOOKS.register_module()
class DisturbHook(Hook):
    """Do something when a point of the training is reached.

    ``point`` is a method of hooks or 'fsync' (a checkpoint is being written),
    ``count`` which of its calls, and ``action`` a function of this module.
    """

    priority = 'LOWEST'

    def __init__(self, point, count=1, action='kill'):
        self.left = count
        self.action = action
        if point == 'fsync':
            os.fsync = self.reached
        else:
            setattr(self, point, self.reached)

    def reached(self, runner, **kwargs):
        self.left -= 1
        if self.left == 0:
            globals()[self.action](runner)


def kill(runner):
    os.kill(os.getpid(), signal.SIGKILL)


def terminate(runner):
    os.kill(os.getpid(), signal.SIGTERM)


def interrupt(runner):
    os.kill(os.getpid(), signal.SIGINT)


def terminate_group(runner, name='TERM'):
    """As a cluster does it: all processes of the job, and not by the parent."""
    command = ['kill', f'-{name}', '--', f'-{os.getpgid(0)}']
    subprocess.run(command, start_new_session=True, check=True)


def interrupt_group(runner):
    """Ctrl-C in a terminal."""
    terminate_group(runner, 'INT')


def kill_worker(runner):
    os.kill(multiprocessing.active_children()[0].pid, signal.SIGKILL)
    time.sleep(0.2)  # the news arrives in the middle of this step


def hide_images(runner):
    folder = Path(runner.train_dataloader.dataset.data_root) / 'bounding_box_train'
    folder.rename(folder.with_name('hidden'))


def nan_loss(runner):
    _unwrapped(runner).head.loss_weight = float('nan')


def infinite_loss(runner):
    _unwrapped(runner).relation_head.loss_weight = float('inf')


def spoil_inputs(runner):
    """An image of the batch becomes NaN on its way to the model."""
    preprocessor = _unwrapped(runner).data_preprocessor
    preprocessor.mean = preprocessor.mean * float('nan')


def spoil_weights(runner):
    next(_unwrapped(runner).parameters()).data.fill_(float('nan'))


def _unwrapped(runner):
    return getattr(runner.model, 'module', runner.model)


def disturbed(config, point, count=1, action='kill'):
    """The config, with a :class:`DisturbHook`."""
    hook = dict(type='DisturbHook', point=point, count=count, action=action)
    config.custom_hooks.append(hook)
    return config


def _child(config, log, rank, world_size):
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with open(log, 'ab') as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    config = Config(config)
    if world_size > 1:
        rendezvous = Path(log).with_name(f'rendezvous{config.resume}')
        torch.distributed.init_process_group(
            'gloo', f'file://{rendezvous}', rank=rank, world_size=world_size
        )
        config.launcher = 'pytorch'
        os.environ['LOCAL_RANK'] = str(rank)
        config.model_wrapper_cfg = dict(
            type='MMDistributedDataParallel', device_ids=None, broadcast_buffers=False
        )
    train(config)


_server = multiprocessing.get_context('forkserver')
_server.set_forkserver_preload([__name__])


def start(config, rank=0, world_size=1) -> multiprocessing.Process:
    """Train in a process of its own; its output goes to ``log0.txt``."""
    work_dir = Path(config.work_dir)
    work_dir.mkdir(parents=True, exist_ok=True)
    log = str(work_dir / f'log{rank}.txt')
    process = _server.Process(
        target=_child, args=(config.to_dict(), log, rank, world_size)
    )
    process.start()
    return process


def finish(process, config, timeout=300) -> int:
    """Wait for it; the exit code, negative for a signal."""
    process.join(timeout)
    if process.is_alive():
        process.kill()
        raise AssertionError(f'It hangs:\n{log(config)[-3000:]}')
    return process.exitcode


def run(config) -> int:
    """Train in a process of its own."""
    return finish(start(config), config)


def log(config) -> str:
    """What the processes of a work dir have printed."""
    return (Path(config.work_dir) / 'log0.txt').read_text(errors='replace')


def outcome(work_dir) -> dict:
    """What must be the same: weights, optimiser, schedulers, labels, metrics."""
    work_dir = Path(work_dir)
    content = mmreid_gcl.checkpoint.read_checkpoint(work_dir / f'epoch_{EPOCHS}.pth')
    kept = ('state_dict', 'optimizer', 'param_schedulers', 'pseudo_labels')
    outcome = {key: content[key] for key in kept}
    outcome['metrics'] = (work_dir / 'last_validation.json').read_text()
    return outcome


def last_state(work_dir, keys) -> dict:
    """Parts of the last checkpoint of a work dir."""
    content = mmreid_gcl.checkpoint.read_checkpoint(
        mmreid_gcl.work_dir.last_checkpoint(work_dir)
    )
    return {key: content[key] for key in keys}


def differences(one, other, path=''):
    """Where two outcomes are not bit by bit the same."""
    if isinstance(one, dict):
        if list(one) != list(other):
            return [f'{path}: keys {list(one)} and {list(other)}']
        pairs = [(key, one[key], other[key]) for key in one]
    elif isinstance(one, (list, tuple)):
        if len(one) != len(other):
            return [f'{path}: lengths {len(one)} and {len(other)}']
        pairs = [(i, a, b) for i, (a, b) in enumerate(zip(one, other))]
    elif isinstance(one, torch.Tensor):
        return [] if torch.equal(one, other) else [path]
    else:
        return [] if one == other else [f'{path}: {one} and {other}']
    return [d for key, a, b in pairs for d in differences(a, b, f'{path}/{key}')]
