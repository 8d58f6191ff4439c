# SPDX-License-Identifier: Apache-2.0
"""Compiled parts compute what the others do."""

import shutil

import pytest
import torch
import torch.nn.functional as F

from mmreid_gcl.models import SelectiveMemoryHead

from .tiny import make_batch, make_model

LABELS = [0, 0, 0, 2, 2, 2, 1, 1]
COMPILER = pytest.mark.skipif(
    not (shutil.which('g++') or shutil.which('clang++')), reason='needs a compiler'
)


@pytest.fixture(autouse=True)
def fresh():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def steps(clusters=(3, 7, 5), dtype=torch.float32, **kwargs):
    """Losses, gradients and memories of some batches; clusters change in between."""
    model = make_model(**kwargs).train().to(dtype)
    out = []
    for n, count in enumerate(clusters):
        generator = torch.Generator().manual_seed(n)
        for head in model.memory_heads:
            features = torch.randn(count, head.in_channels, generator=generator)
            head.init_memory(features.to(dtype), torch.arange(count))
        images, samples = make_batch(LABELS, seed=n)
        images = images.to(dtype)
        model.zero_grad()
        losses = model(images, samples, mode='loss')
        sum(losses.values()).backward()
        for head in model.memory_heads:
            head.apply_update()
        out.append(
            dict(
                losses=[value.item() for value in losses.values()],
                gradients={
                    name: p.grad.clone()
                    for name, p in model.named_parameters()
                    if p.grad is not None
                },
                memories=[head.memory for head in model.memory_heads],
            )
        )
    out.append(model.eval()(images))
    return out


def assert_close(one, other):
    torch.testing.assert_close(one, other, rtol=1e-3, atol=2e-5)


@pytest.mark.parametrize('what', ['compile', 'compile_heads'])
def test_traced_parts_equal_eager_ones(what):
    """Everything but the generated code: quick enough for every day."""
    assert_close(steps(**{what: dict(backend='aot_eager')}), steps())


def test_a_new_number_of_clusters_needs_no_compilation():
    counter = torch._dynamo.testing.CompileCounterWithBackend('aot_eager')
    head = SelectiveMemoryHead(8)
    head.compile_functions(backend=counter)
    labels = torch.tensor(LABELS)
    for count in (3, 40, 7, 12):
        head.init_memory(torch.randn(count, 8), torch.arange(count))
        for _ in range(2):
            q = torch.randn(8, 8, requires_grad=True)
            head.loss(q, labels)['loss_scl'].backward()
            head.apply_update()
    assert counter.frame_count == 2  # the loss, the update


def test_policy_random_draws_the_same():
    memories = []
    for compiled in (False, True):
        torch.manual_seed(3)
        head = SelectiveMemoryHead(8, policy='random')
        if compiled:
            head.compile_functions(backend='aot_eager')
        head.init_memory(F.normalize(torch.randn(3, 8)), torch.arange(3))
        head.loss(torch.randn(8, 8), torch.tensor(LABELS))
        torch.manual_seed(4)
        head.apply_update()
        memories.append(head.memory)
    assert torch.equal(*memories)


@pytest.mark.slow
@COMPILER
@pytest.mark.parametrize('what', ['compile', 'compile_heads'])
def test_compiled_parts_equal_eager_ones(what):
    """In float64: generated code adds in another order, and batch norm over eight
    images makes 0.3 % of float32's rounding in single elements of a gradient."""
    double = torch.float64
    one, other = steps(dtype=double, **{what: True}), steps(dtype=double)
    assert other[0]['memories'][0].dtype == other[-1].dtype == double
    torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-11)
