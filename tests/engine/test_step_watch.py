# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from mmengine.optim import OptimWrapper

from mmreid_gcl.engine.hooks.memory_hook import StepWatch


def make(accumulate=1, **kwargs):
    weight = torch.nn.Parameter(torch.ones(3))
    optimizer = torch.optim.Adam([weight], lr=0.1, **kwargs)
    wrapper = OptimWrapper(optimizer, accumulative_counts=accumulate)
    return weight, wrapper, StepWatch(wrapper)


class ScaledWrapper(OptimWrapper):
    """mmengine's mixed precision wrapper without its look for a GPU."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.scaler = torch.amp.GradScaler('cpu', init_scale=2.0)

    def backward(self, loss, **kwargs):
        self.scaler.scale(loss).backward()
        self._inner_count += 1

    def step(self, **kwargs):
        self.scaler.step(self.optimizer)
        self.scaler.update()


def test_every_iteration_is_a_step():
    weight, wrapper, watch = make()
    for _ in range(3):
        before = weight.detach().clone()
        wrapper.update_params(weight.sum())
        assert not torch.equal(weight, before)
        assert watch.outcome() == 'stepped'


def test_asked_twice():
    weight, wrapper, watch = make()
    wrapper.update_params(weight.sum())
    assert [watch.outcome(), watch.outcome()] == ['stepped', 'skipped']


@pytest.mark.parametrize('accumulate', [2, 3])
def test_gradient_accumulation(accumulate):
    weight, wrapper, watch = make(accumulate)
    wrapper.initialize_count_status(torch.nn.Module(), 0, 7)
    outcomes = []
    for i in range(7):
        before = weight.detach().clone()
        wrapper.update_params(weight.sum())
        outcomes.append(watch.outcome())
        stepped = not torch.equal(weight, before)
        assert stepped == ((i + 1) % accumulate == 0 or i == 6)
        assert outcomes[-1] == ('stepped' if stepped else 'accumulating')
    assert outcomes[-1] == 'stepped'  # the last iteration of training always is


@pytest.mark.parametrize('fused', [False, True])
@pytest.mark.parametrize('accumulate', [1, 2])
def test_scaler_skips_a_step(fused, accumulate):
    """Also with a fused optimiser, which is called all the same."""
    weight = torch.nn.Parameter(torch.ones(3))
    optimizer = torch.optim.Adam([weight], lr=0.1, fused=fused)
    wrapper = ScaledWrapper(optimizer, accumulative_counts=accumulate)
    watch = StepWatch(wrapper)
    for bad in (False, True, False, True, True, False):
        before = weight.detach().clone()
        for i in range(accumulate):
            factor = float('inf') if bad and i == 0 else 1.0
            wrapper.update_params(weight.sum() * factor)
            if i < accumulate - 1:
                assert watch.outcome() == 'accumulating'
        assert torch.equal(weight, before) == bad
        assert watch.outcome() == ('skipped' if bad else 'stepped')


def test_closed():
    weight, wrapper, watch = make()
    watch.close()
    wrapper.update_params(weight.sum())
    assert watch.outcome() == 'skipped'
