# SPDX-License-Identifier: Apache-2.0
"""Mixed precision: what it changes, and what it leaves alone."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from mmreid_gcl.clustering.labeller import refine_embeddings
from mmreid_gcl.engine import MixedPrecisionOptimWrapper, Preempted
from mmreid_gcl.engine.hooks import pseudo_label_hook
from mmreid_gcl.engine.hooks.memory_hook import StepWatch
from mmreid_gcl.models.functional import selective_contrastive_loss
from mmreid_gcl.models.reidentifiers import unsupervised_reid
from mmreid_gcl.precision import exact_float32
from mmreid_gcl.registry import OPTIM_WRAPPERS
from tests.models.tiny import make_batch, make_model

from .tiny_training import differences, disturbed, make_config, outcome, train

LABELS = [0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2]
TAU = 0.05


def wrapper(model, **kwargs):
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    return MixedPrecisionOptimWrapper(optimizer=optimizer, **kwargs)


def losses(device, dtype):
    """The two losses of a batch, and the queries they were computed from."""
    model = make_model(clusters=5).to(device).train()
    images, samples = make_batch(LABELS)
    queries = []
    for head in model.memory_heads:
        inner = head.loss

        def keep(features, labels, images, inner=inner):
            queries.append(F.normalize(features.detach().float()))
            return inner(features, labels)

        head.loss = keep
    with torch.autocast(device, dtype, enabled=dtype is not None):
        values = model(images.to(device), samples, mode='loss')
    return [value.item() for value in values.values()], queries


@pytest.mark.parametrize(
    'device,dtype',
    [
        ('cpu', torch.bfloat16),
        pytest.param('cuda', torch.bfloat16, marks=pytest.mark.gpu),
        pytest.param('cuda', torch.float16, marks=pytest.mark.gpu),
    ],
)
def test_loss_is_that_of_float32_within_the_format(device, dtype):
    """The difference is that of the queries, and theirs is the format's.

    A logit is the product of unit vectors over tau, so a query moved by d moves
    each by at most d / tau, and cross entropy by at most twice as much; k of them
    are summed. A layer rounds to u = 2^-8 (bfloat16) or 2^-11 (float16), and the
    21 layers of ResNet-18 with its necks amplify that by some factor, here 10.
    """
    exact, before = losses(device, None)
    values, queries = losses(device, dtype)
    unit = torch.finfo(dtype).eps / 2
    for value, expected, q, p in zip(values, exact, queries, before, strict=True):
        moved = (q - p).norm(dim=1).max().item()
        assert 0 < moved < 10 * 21**0.5 * unit
        # lambda of the second loss is 0.5; choosing other hard queries changes the
        # loss by no more, since the chosen ones are the least similar
        assert abs(value - expected) <= 2 * 2 * moved / TAU
        assert abs(value - expected) < 0.1 * expected


class _Dtypes(TorchDispatchMode):
    """The dtypes of what softmax, normalisation and products of a block return."""

    def __init__(self):
        super().__init__()
        self.seen = {}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        if isinstance(out, torch.Tensor) and out.is_floating_point():
            name = func.name().removeprefix('aten::').partition('.')[0]
            self.seen.setdefault(name, set()).add(out.dtype)
        return out


@pytest.mark.parametrize('queries', [torch.bfloat16, torch.float32])
def test_softmax_over_clusters_is_float32(queries):
    q = torch.randn(12, 32).to(queries)
    memory = F.normalize(torch.randn(5, 32))
    with torch.autocast('cpu', torch.bfloat16), _Dtypes() as dtypes:
        selective_contrastive_loss(q, torch.tensor(LABELS), memory)
    assert {'mm', '_log_softmax', 'linalg_vector_norm'} <= dtypes.seen.keys()
    for name, seen in dtypes.seen.items():
        assert seen == {torch.float32}, name


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_features_are_gathered_and_normalised_in_float32(dtype, monkeypatch):
    model = make_model(clusters=5).train()
    images, samples = make_batch(LABELS)
    seen = {}

    def gather(x):
        seen.setdefault('gathered', x.dtype)
        return x

    monkeypatch.setattr(unsupervised_reid, 'gather_batch', gather)
    pool = model.neck.pooling
    pool.register_forward_hook(lambda m, i, out: seen.update(pooled=out.dtype))
    model.neck.norm.register_forward_hook(
        lambda m, i, out: seen.update(into_norm=i[0].dtype, out_of_norm=out.dtype)
    )
    with torch.autocast('cpu', dtype):
        model(images, samples, mode='loss')
    assert seen.pop('pooled') == dtype  # autocast was at work
    assert set(seen) == {'gathered', 'into_norm', 'out_of_norm'}
    assert set(seen.values()) == {torch.float32}


def test_a_step_keeps_float32():
    """Weights, gradients, the optimiser's state and the memories."""
    model = make_model(clusters=5).train()
    optim = wrapper(model)
    assert optim.cast_dtype == torch.bfloat16 and not optim.loss_scaler.is_enabled()
    images, samples = make_batch(LABELS)
    watch = StepWatch(optim)
    kinds = []
    optim.optimizer.register_step_pre_hook(
        lambda *_: kinds.extend(
            p.grad.dtype for p in model.parameters() if p.grad is not None
        )
    )
    backbone = []
    model.backbone.register_forward_hook(
        lambda m, i, out: backbone.append(out[0].dtype)
    )
    before = [head.memory.clone() for head in model.memory_heads]
    for _ in range(2):
        model.train_step(dict(inputs=images, data_samples=samples), optim)
        assert watch.outcome() == 'stepped'
        for head in model.memory_heads:
            head.apply_update()
    assert set(backbone) == {torch.bfloat16}  # it was at work
    assert set(kinds) == {torch.float32}
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    state = optim.optimizer.state_dict()['state'].values()
    assert {v.dtype for s in state for v in s.values()} == {torch.float32}
    for head, old in zip(model.memory_heads, before):
        assert head.memory.dtype == torch.float32 and not torch.equal(head.memory, old)
        norms = head.memory.norm(dim=1)
        torch.testing.assert_close(norms, torch.ones(5), rtol=0, atol=1e-6)


@pytest.mark.gpu
def test_float16_is_scaled():
    model = make_model(clusters=5).cuda().train()
    optim = wrapper(model, dtype='float16')
    assert optim.loss_scaler.is_enabled()
    images, samples = make_batch(LABELS)
    watch = StepWatch(optim)
    for _ in range(3):
        model.train_step(dict(inputs=images.cuda(), data_samples=samples), optim)
        assert watch.outcome() in ('stepped', 'skipped')
    assert optim.state_dict()['loss_scaler']['scale'] > 1


def test_float16_scaler_skips_on_a_cpu_too():
    model = torch.nn.Linear(2, 1)
    optim = wrapper(model, dtype='float16', loss_scale=4.0)
    watch = StepWatch(optim)
    before = model.weight.detach().clone()
    optim.update_params(model(torch.full((1, 2), float('inf'))).sum())
    assert watch.outcome() == 'skipped' and torch.equal(model.weight, before)
    optim.update_params(model(torch.ones(1, 2)).sum())
    assert watch.outcome() == 'stepped'
    assert optim.loss_scaler.get_scale() == 4.0


@pytest.mark.parametrize(
    'kwargs,message',
    [
        (dict(dtype='float64'), r"dtype must be one of .*bfloat16.*got 'float64'"),
        (dict(loss_scale='high'), r"loss_scale must be 'dynamic', .*got 'high'"),
    ],
)
def test_arguments(kwargs, message):
    with pytest.raises(ValueError, match=message):
        wrapper(torch.nn.Linear(1, 1), **kwargs)
    assert 'MixedPrecisionOptimWrapper' in OPTIM_WRAPPERS.module_dict


def test_an_interrupted_training_goes_on_the_same(images, tmp_path):
    options = {'optim_wrapper.type': 'MixedPrecisionOptimWrapper'}
    train(make_config(images, tmp_path / 'whole', **options))
    first = make_config(images, tmp_path / 'parts', **options)
    with pytest.raises(Preempted):
        train(disturbed(first, 'before_train_iter', 6, 'terminate'))
    train(make_config(images, tmp_path / 'parts', resume=True, **options))
    whole, parts = outcome(tmp_path / 'whole'), outcome(tmp_path / 'parts')
    assert 'loss_scaler' in whole['optimizer']
    assert differences(whole, parts) == []


def test_accumulated_batches_are_one_update(images, tmp_path):
    """4 batches an epoch in steps of 2: a memory moves twice, by both batches."""
    from mmreid_gcl.models import SelectiveMemoryHead

    calls = []
    apply = SelectiveMemoryHead.apply_update

    def counted(self):
        calls.append(len(self._recorded))
        apply(self)

    SelectiveMemoryHead.apply_update = counted
    try:
        options = {'optim_wrapper.accumulative_counts': 2, 'train_cfg.max_epochs': 1}
        train(make_config(images, tmp_path, **options))
    finally:
        SelectiveMemoryHead.apply_update = apply
    assert calls == [2] * 4  # two heads, two steps


@pytest.fixture
def command_line(load_tool, tmp_path, monkeypatch):
    """``tools/train.py`` up to the config that it would train."""
    tool = load_tool('train')
    path = tmp_path / 'config.py'
    config = make_config(tmp_path, tmp_path / 'run', 2, persistent=True).to_dict()
    path.write_text(''.join(f'{key} = {value!r}\n' for key, value in config.items()))
    seen = []
    runner = SimpleNamespace(train=lambda: None)
    from_cfg = lambda cfg: seen.append(cfg) or runner  # noqa: E731
    monkeypatch.setattr(tool, 'Runner', SimpleNamespace(from_cfg=from_cfg))
    monkeypatch.setenv('LOCAL_RANK', '0')

    def call(*arguments):
        monkeypatch.setattr('sys.argv', ['train.py', str(path), *arguments])
        tool.main()
        return seen.pop()

    return call


def test_command_line(command_line):
    cfg = command_line('--amp')
    assert cfg.optim_wrapper.type == 'mmreid_gcl.MixedPrecisionOptimWrapper'
    assert cfg.train_dataloader.persistent_workers
    cfg = command_line('--no-pin-memory', '--no-persistent-workers')
    assert cfg.optim_wrapper.type == 'OptimWrapper'
    for loader in (cfg.train_dataloader, cfg.val_dataloader):
        assert loader.pin_memory is False and loader.persistent_workers is False
    with pytest.raises(SystemExit, match=r"optim_wrapper\.type='ApexOptimWrapper'"):
        command_line('--amp', '--cfg-options', 'optim_wrapper.type=ApexOptimWrapper')
    with pytest.raises(SystemExit, match=r'auto_scale_lr=dict\(base_batch_size=128\)'):
        command_line('--auto-scale-lr')


@pytest.mark.parametrize('name', ['cudnn', 'cuda.matmul'])
def test_embedding_is_exact_whatever_training_allows(name):
    place = torch.backends
    for part in name.split('.'):
        place = getattr(place, part)
    found = place.allow_tf32
    try:
        for before in (True, False):
            place.allow_tf32 = before
            with exact_float32(exact=False):
                assert place.allow_tf32 is before
            with pytest.raises(KeyError), exact_float32():
                assert place.allow_tf32 is False
                raise KeyError
            assert place.allow_tf32 is before
    finally:
        place.allow_tf32 = found


def test_the_hook_embeds_in_float32(images, tmp_path, monkeypatch):
    seen = []
    embed = pseudo_label_hook.extract_features

    def look(*args, **kwargs):
        seen.append((torch.backends.cudnn.allow_tf32, torch.is_autocast_enabled('cpu')))
        return embed(*args, **kwargs)

    monkeypatch.setattr(pseudo_label_hook, 'extract_features', look)
    assert torch.backends.cudnn.allow_tf32  # torch's default
    options = {
        'optim_wrapper.type': 'MixedPrecisionOptimWrapper',
        'train_cfg.max_epochs': 1,
    }
    config = make_config(images, tmp_path / 'a', **options)
    train(config)
    config = make_config(images, tmp_path / 'b', **options)
    config.default_hooks.pseudo_labels.extract.tf32 = True
    train(config)
    assert seen == [(False, False), (True, False)]


def test_refinement_is_exact_whatever_training_allows():
    neck, seen = torch.nn.Module(), []

    def refine(features, neighbours):
        seen.append(torch.backends.cuda.matmul.allow_tf32)
        return features

    neck.refine = refine
    found = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = True
    try:
        refine_embeddings(torch.ones(2, 3), neck, np.zeros((2, 1), int))
        assert torch.backends.cuda.matmul.allow_tf32
    finally:
        torch.backends.cuda.matmul.allow_tf32 = found
    assert seen == [False]
