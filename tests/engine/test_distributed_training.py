# SPDX-License-Identifier: Apache-2.0
"""The number of processes does not change what is computed, nor leaves one waiting."""

import os
import shutil
import signal
import socket
import subprocess
import sys
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine import dist
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.model import MMDistributedDataParallel
from mmengine.optim import OptimWrapper
from mmpretrain.structures import DataSample

from mmreid_gcl.apis import load_config
from mmreid_gcl.datasets import PKSampler
from mmreid_gcl.engine import (
    MemoryHook,
    PseudoLabelHook,
    ResumableTrainLoop,
    extract_features,
)
from mmreid_gcl.engine.hooks import PositionSeedHook
from mmreid_gcl.engine.hooks.memory_hook import StepWatch
from mmreid_gcl.models import UnsupervisedReID
from mmreid_gcl.registry import MODELS
from tests.models.tiny import model_cfg

from . import processes, tiny_training
from .test_extraction import Images, Toy, expected

ROOT = Path(__file__).resolve().parents[2]

# They come from a server that imported everything and ran nothing: the OpenMP of a
# process that was forked after it had threads may hang.
run = partial(processes.run, timeout=240, method='forkserver')


# ------------------------------------------------------------------ single steps

# P * K = 12: with two and four processes a cluster's images are on several ranks
P, K, STEPS = 3, 4, 6
LABELS = np.repeat([0, 1, 2, 3, 4, 5, -1], [1, 2, 4, 6, 7, 9, 5])
GROUP_NORM = dict(norm_cfg=dict(type='GN', num_groups=2))
SCENARIOS = {
    'selective': dict(backbone=GROUP_NORM, policy='selective'),
    'random, frozen BN': dict(backbone=dict(norm_eval=True), policy='random'),
    'accumulated': dict(backbone=GROUP_NORM, policy='selective', accumulate=2),
    'BN of 3 images': dict(backbone={}, policy='selective', samples_per_bn=3),
    'two views': dict(backbone=GROUP_NORM, policy='selective', consistency=10.0),
    'BN of each rank': dict(backbone={}, policy='selective'),
}


class _Labelled:
    """What a PKSampler asks of a data set."""

    def __len__(self):
        return len(LABELS)

    def get_gt_labels(self):
        return LABELS


def _batches(sampler):
    """Images in float64 that depend on the draw, as augmented ones do."""
    generator = torch.Generator().manual_seed(0)
    shape = (len(LABELS), 3, 32, 16)
    images = torch.randn(shape, generator=generator, dtype=torch.float64)
    draws = iter(sampler)
    for _ in range(sampler.num_batches):
        inputs, samples = [], []
        for _ in range(sampler.batch_size):
            index = next(draws)
            generator.manual_seed(index.seed)
            noise = torch.randn(shape[1:], generator=generator, dtype=torch.float64)
            inputs.append(images[int(index)] + 0.3 * noise)
            sample = DataSample().set_gt_label(index.label)
            view = images[int(index)].permute(1, 2, 0).numpy()
            samples.append(sample.set_field(view, 'weak_view') or sample)
        yield dict(inputs=torch.stack(inputs), data_samples=samples)


def _model(backbone, policy, samples_per_bn, consistency) -> UnsupervisedReID:
    cfg = model_cfg(data_preprocessor=dict(type='mmengine.BaseDataPreprocessor'))
    cfg['samples_per_bn'] = samples_per_bn
    cfg['backbone'].update(backbone)
    cfg['head']['policy'] = cfg['relation_head']['policy'] = policy
    if consistency:
        views = dict(type='InstanceContrastHead', consistency=consistency)
        cfg['head'] = [cfg['head'], views]
    torch.manual_seed(1)
    model = MODELS.build(cfg).double().train()
    labels = torch.from_numpy(LABELS)
    for head in model.memory_heads:
        features = torch.randn(len(labels), head.in_channels, dtype=torch.float64)
        head.init_memory(features, labels)
    return model


def _take_steps(backbone, policy, accumulate=1, samples_per_bn=None, consistency=0.0):
    """Losses, gradients and memories of some steps, and the weights after them."""
    model = _model(backbone, policy, samples_per_bn, consistency)
    wrapped = model
    if dist.get_world_size() > 1:
        wrapped = MMDistributedDataParallel(model, broadcast_buffers=False)
    # Adam's eps of 1e-8 makes steps of the rounding errors of gradients that are
    # zero (a bias that the next batch norm takes away): 1e-13 becomes 1e-8.
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(parameters, lr=1e-3, eps=1e-3, weight_decay=5e-4)
    optim = OptimWrapper(optimizer, accumulative_counts=accumulate)
    optim.initialize_count_status(wrapped, 0, STEPS)
    gradients = []

    def keep_gradients(*_):
        named = model.named_parameters()
        gradients.append({n: p.grad.clone() for n, p in named if p.requires_grad})

    optimizer.register_step_pre_hook(keep_gradients)
    hook = MemoryHook()
    hook._watch = StepWatch(optim)
    sampler = PKSampler(_Labelled(), P, K, num_batches=STEPS, seed=5)
    losses, memories = [], []
    for step, batch in enumerate(_batches(sampler)):
        runner = SimpleNamespace(model=wrapped, seed=11, iter=step)
        PositionSeedHook().before_train_iter(runner, step)
        values = wrapped.train_step(batch, optim)
        hook.after_train_iter(runner, step)
        losses.append({name: value.item() for name, value in values.items()})
        memories.append([head.memory.clone() for head in model.memory_heads])
    # running statistics of the ranks become one at the end of an epoch
    PseudoLabelHook(dict(type='DBSCANClusterer')).after_train_epoch(
        SimpleNamespace(model=wrapped)
    )
    return dict(
        losses=losses,
        gradients=gradients,
        memories=memories,
        weights=dict(model.state_dict()),
    )


def _steps(rank):
    return {name: _take_steps(**scenario) for name, scenario in SCENARIOS.items()}


@pytest.fixture(scope='module')
def steps(tmp_path_factory):
    """Outcomes by number of processes; of each rank a dict by scenario."""
    root = tmp_path_factory.mktemp('steps')
    several = {n: run(_steps, root / str(n), n) for n in (2, 4)}
    return {1: [_steps(0)], **several}


def furthest(one, other):
    """The largest absolute difference in two nested structures."""
    if isinstance(one, torch.Tensor):
        assert one.shape == other.shape and one.dtype == other.dtype
        return (one - other).abs().max().item() if one.numel() else 0.0
    if isinstance(one, (dict, list)):
        assert len(one) == len(other) and len(one) > 0
        keys = one if isinstance(one, dict) else range(len(one))
        return max(furthest(one[key], other[key]) for key in keys)
    return abs(one - other)


def zeros(gradients):
    return [{n: torch.zeros_like(g) for n, g in step.items()} for step in gradients]


@pytest.mark.parametrize('name', list(SCENARIOS)[:-1])
@pytest.mark.parametrize('world_size', [2, 4])
def test_steps_equal_those_of_one_process(steps, world_size, name):
    one = steps[1][0][name]
    accumulate = SCENARIOS[name].get('accumulate', 1)
    assert len(one['losses']) == STEPS
    assert len(one['gradients']) == STEPS // accumulate
    # something happens: the tolerance is far below what is compared
    assert all(0.1 < losses['loss'] < 100 for losses in one['losses'])
    for gradients in one['gradients']:
        moved = [n for n, g in gradients.items() if g.abs().max() > 1e-5]
        assert {n.split('.')[0] for n in moved} == {'backbone', 'neck', 'relation_neck'}
    first, *_, last = one['memories']
    assert furthest(first, last) > 0.1
    # three images have small deviations, which gradients are divided by
    scale = 80 if name == 'BN of 3 images' else 1
    assert scale == 1 or furthest(one['gradients'], zeros(one['gradients'])) > scale
    for rank, outcome in enumerate(steps[world_size]):
        for part in ('losses', 'gradients', 'memories', 'weights'):
            bound = 1e-10 * (scale if part == 'gradients' else 1)
            assert furthest(one[part], outcome[name][part]) < bound, (rank, part)


def test_ranks_have_the_same_memories_to_the_bit(steps):
    for world_size in (2, 4):
        first, *others = steps[world_size]
        for name in SCENARIOS:
            for other in others:
                assert furthest(first[name]['memories'], other[name]['memories']) == 0


def test_batch_norm_of_the_backbone_is_the_exception(steps):
    """And what is compared above can differ."""
    name = 'BN of each rank'
    for part in ('losses', 'gradients', 'memories'):
        assert furthest(steps[1][0][name][part], steps[2][0][name][part]) > 1e-4


# ------------------------------------------------------------------ whole training


class _Recorder(Hook):
    """The labels and memories of every epoch."""

    priority = 'LOWEST'

    def __init__(self, labels):
        self.labels, self.epochs = labels, []

    def after_train_epoch(self, runner):
        model = getattr(runner.model, 'module', runner.model)
        memories = [head.memory.clone() for head in model.memory_heads]
        self.epochs.append((self.labels.labels.copy(), memories))


def _config(images, work_dir, world_size, **more):
    """tiny_training's, whose heads have the policies random and selective."""
    config = tiny_training.make_config(
        images,
        work_dir,
        **{
            'model.backbone.norm_cfg': dict(type='GN', num_groups=2),
            'optim_wrapper.optimizer.eps': 1e-3,  # see above
            'train_dataloader.batch_size': 8 // world_size,
            **more,
        },
    )
    if world_size > 1:
        config.launcher = 'pytorch'
        config.model_wrapper_cfg = dict(
            type='MMDistributedDataParallel', device_ids=None, broadcast_buffers=False
        )
    return config


def _labels_hook(runner):
    return next(hook for hook in runner.hooks if isinstance(hook, PseudoLabelHook))


def _train(rank, config):
    runner = tiny_training.build(Config(config))
    recorder = _Recorder(_labels_hook(runner))
    runner.register_hook(recorder, priority='LOWEST')
    runner.train()
    model = getattr(runner.model, 'module', runner.model)
    return recorder.epochs, dict(model.state_dict())


def _train_with(images, root, world_size, **more):
    config = _config(images, root / f'work{world_size}', world_size, **more)
    return run(_train, root / f'ranks{world_size}', world_size, config.to_dict())


@pytest.fixture(scope='module')
def one_process(images, tmp_path_factory):
    [outcome] = _train_with(images, tmp_path_factory.mktemp('one'), 1)
    return outcome


@pytest.mark.parametrize('world_size', [2, 4])
def test_training_equals_that_of_one_process(images, tmp_path, one_process, world_size):
    epochs, weights = one_process
    assert len(epochs) == tiny_training.EPOCHS
    assert len({tuple(labels) for labels, _ in epochs}) > 1  # they do change
    # all ranks search for neighbours, as on GPUs
    knn = dict(backend='torch', device='cpu', all_ranks=True, chunk_bytes=4 * 36 * 5)
    ranks = _train_with(
        images,
        tmp_path,
        world_size,
        **{'default_hooks.pseudo_labels.clusterer.knn': knn},
    )
    for rank_epochs, rank_weights in ranks:
        for (labels, memories), (rank_labels, rank_memories) in zip(
            epochs, rank_epochs, strict=True
        ):
            assert labels.max() > 0
            assert np.array_equal(labels, rank_labels)
            assert furthest(memories, rank_memories) < 1e-3
        assert furthest(weights, rank_weights) < 1e-3


def _train_twice(rank, config, saving):
    """With a checkpoint every epoch, and with one every iteration."""
    often = Config(config)
    often.merge_from_dict(saving)
    return _train(rank, config), _train(rank, often.to_dict())


def test_checkpoints_inside_epochs_change_nothing(images, tmp_path):
    """Each rank's running statistics go into them, and stay what they were."""
    options = {
        'model.backbone.norm_cfg': dict(type='BN'),
        'train_cfg.max_epochs': 2,
        'train_dataloader.sampler.num_batches': 2,
    }
    config = _config(images, tmp_path / 'a', 2, **options)
    config.val_dataloader = config.val_evaluator = config.val_cfg = None
    saving = {
        'work_dir': str(tmp_path / 'b'),
        'default_hooks.checkpoint.by_epoch': False,
    }
    arguments = (config.to_dict(), saving)
    for (epochs, weights), (other_epochs, other_weights) in run(
        _train_twice, tmp_path / 'ranks', 2, *arguments
    ):
        for (labels, memories), (other_labels, other_memories) in zip(
            epochs, other_epochs, strict=True
        ):
            assert np.array_equal(labels, other_labels)
            assert furthest(memories, other_memories) == 0
        assert furthest(weights, other_weights) == 0
    assert (tmp_path / 'b' / 'iter_4.pth').exists()


def _free_port():
    with socket.socket() as server:
        server.bind(('127.0.0.1', 0))
        return server.getsockname()[1]


def _train_file(rank, path, work_dir):
    return _train(rank, load_config(path, work_dir=work_dir).to_dict())


@pytest.mark.slow
def test_two_launches_with_one_rendezvous(images, tmp_path):
    """The commands of docs/distributed.md, both nodes on this machine."""
    config = _config(images, tmp_path / 'unused', 1).to_dict()
    config['train_dataloader']['batch_size'] = 'auto'
    path = tmp_path / 'config.py'
    path.write_text(''.join(f'{key} = {value!r}\n' for key, value in config.items()))
    launches = []
    port = _free_port()
    for node in range(2):
        env = dict(
            os.environ,
            NNODES='2',
            NODE_RANK=str(node),
            MASTER_ADDR='127.0.0.1',
            PORT=str(port),
            OMP_NUM_THREADS='1',
            PATH=f'{Path(sys.executable).parent}{os.pathsep}{os.environ["PATH"]}',
        )
        script = str(ROOT / 'tools' / 'dist_train.sh')
        command = ['bash', script, str(path), '1', '--work-dir', str(tmp_path / 'work')]
        with open(tmp_path / f'node{node}.txt', 'w') as log:
            launches.append(
                subprocess.Popen(
                    command,
                    env=env,
                    stdout=log,
                    stderr=log,
                    cwd=tmp_path,
                    start_new_session=True,
                )
            )
    try:
        codes = [launch.wait(500) for launch in launches]
    finally:
        for launch in launches:
            if launch.poll() is None:  # torchrun then ends its processes
                os.killpg(launch.pid, signal.SIGTERM)
    logs = [(tmp_path / f'node{node}.txt').read_text() for node in range(2)]
    assert codes == [0, 0], '\n'.join(log[-3000:] for log in logs)

    arguments = (str(path), str(tmp_path / 'alone'))
    [(epochs, weights)] = run(_train_file, tmp_path / 'one', 1, *arguments)
    content = tiny_training.outcome(tmp_path / 'work')
    assert np.array_equal(content['pseudo_labels'].numpy(), epochs[-1][0])
    assert furthest(weights, content['state_dict']) < 1e-3


# ------------------------------------------------------------------ failures


def _begin_at(rank):
    loop = SimpleNamespace(_epoch=2 * rank, _iter=8 * rank)
    together = SimpleNamespace(_epoch=2, _iter=8)
    ResumableTrainLoop._begin_together(together)
    return _message(ResumableTrainLoop._begin_together, loop)


def test_a_checkpoint_that_one_machine_does_not_see(tmp_path):
    for message in run(_begin_at, tmp_path / 'ranks', 2):
        assert 'rank 0: epoch 1, after 0 iterations' in message
        assert 'rank 1: epoch 3, after 8 iterations' in message
        assert 'a work dir that all machines see' in message


def _averaged(rank):
    model = torch.nn.BatchNorm1d(1000)
    model.running_mean.normal_(generator=torch.Generator().manual_seed(0))
    model.running_var.fill_(rank)
    model.num_batches_tracked.fill_(7)
    before = model.running_mean.clone()
    PseudoLabelHook(dict(type='DBSCANClusterer')).after_train_epoch(
        SimpleNamespace(model=model)
    )
    return before, dict(model.named_buffers())


def test_what_three_ranks_have_in_common_stays_to_the_bit(tmp_path):
    """(x + x + x) / 3 is not x for every float32."""
    for before, buffers in run(_averaged, tmp_path / 'ranks', 3):
        assert torch.equal(buffers['running_mean'], before)
        assert torch.equal(buffers['running_var'], torch.ones(1000))
        assert buffers['num_batches_tracked'] == 7


class _Unreadable(Images):
    def __init__(self, count, unreadable):
        super().__init__(count)
        self.unreadable = unreadable

    def __getitem__(self, i):
        if i in self.unreadable:
            raise OSError(f'{i:04d}.jpg is truncated')
        return super().__getitem__(i)


def _message(work, *args, **kwargs):
    try:
        work(*args, **kwargs)
    except Exception as error:
        return f'{type(error).__name__}: {error}'
    return None


def _extract(rank):
    # 7 images on 3 ranks: 0-2, 3-5, 6
    messages = [
        _message(extract_features, Toy(), _Unreadable(7, unreadable), 2, 0)
        for unreadable in ([4], [0, 6], [1])
    ]
    return messages, extract_features(Toy(), Images(7), 2, 0)


def test_an_image_that_one_rank_cannot_read(tmp_path):
    ranks = run(_extract, tmp_path / 'ranks', 3)
    for rank, (messages, _) in enumerate(ranks):
        for message, failed, image in zip(messages, ([1], [0, 2], [0]), (4, 0, 1)):
            if rank in failed:
                assert message.startswith('OSError')
            else:
                assert message == (
                    f'RuntimeError: Rank {failed[0]} failed and all ranks stop: '
                    f'OSError: {image:04d}.jpg is truncated'
                )
    # afterwards they are still in step
    assert torch.equal(ranks[0][1], expected(7))


def _raise(features):
    raise MemoryError(f'{len(features)} images are too many')


def _remove_last_image(runner):
    """The last one, which is in the last rank's part, when all have seen it."""
    path = runner.train_loop.dataloader.dataset.column('img_path')[-1]
    dist.barrier()
    if dist.is_main_process():
        Path(path).unlink()
    dist.barrier()


def _break_clusterer(runner):
    _labels_hook(runner).labeller.clusterer = _raise


def _fail_to_train(rank, cases):
    messages = {}
    for name, (configs, prepare) in cases.items():
        runner = tiny_training.build(Config(configs[rank]))
        if prepare is not None:
            prepare(runner)
        messages[name] = _message(runner.train)
    return messages


@pytest.fixture(scope='module')
def failures(images, tmp_path_factory):
    """What two processes say of each case."""
    root = tmp_path_factory.mktemp('failures')
    for name in ('removed', 'other'):
        shutil.copytree(images, root / name)
    next((root / 'other' / 'bounding_box_train').iterdir()).unlink()

    def case(name, data=(images, images), prepare=None, **more):
        configs = [_config(root_of, root / name, 2, **more) for root_of in data]
        return [config.to_dict() for config in configs], prepare

    cases = dict(
        clustering=case('clustering', prepare=_break_clusterer),
        image=case('image', (root / 'removed',) * 2, _remove_last_image),
        batch_size=case('batch_size', **{'train_dataloader.batch_size': 8}),
        odd=case(
            'odd',
            **{
                'train_dataloader.sampler.num_identities': 3,
                'train_dataloader.sampler.num_instances': 3,
            },
        ),
        data=case('data', (images, root / 'other')),
    )
    return run(_fail_to_train, root / 'ranks', 2, cases)


def test_a_failure_while_rank_0_clusters(failures):
    first, second = [messages['clustering'] for messages in failures]
    assert first == 'MemoryError: 36 images are too many'
    assert second == f'RuntimeError: Rank 0 failed and all ranks stop: {first}'


def test_an_image_that_is_gone(failures):
    first, second = [messages['image'] for messages in failures]
    assert '.jpg' in second
    assert first == f'RuntimeError: Rank 1 failed and all ranks stop: {second}'


def test_a_wrong_batch_size(failures):
    for messages in failures:
        assert 'on 2 process(es) is 4 images for each' in messages['batch_size']
        assert 'Set batch_size=4' in messages['batch_size']


def test_a_batch_that_cannot_be_shared(failures):
    for messages in failures:
        assert '3 x 3 = 9 images cannot be shared equally by 2' in messages['odd']


def test_machines_with_different_images(failures):
    for messages in failures:
        assert messages['data'].startswith('ValueError')
        assert 'rank 0: 36 images' in messages['data']
        assert 'rank 1: 35 images' in messages['data']
        assert 'data_root' in messages['data']
