# SPDX-License-Identifier: Apache-2.0
from pathlib import Path
from types import SimpleNamespace

import pytest
from mmengine.config import Config
from mmengine.hooks import IterTimerHook
from mmengine.logging import MessageHub
from mmengine.runner import Runner

from mmreid_gcl.engine import PseudoLabelHook, TimeLeftHook

from .tiny_training import draw_images, make_config

CONFIGS = Path(__file__).parents[2] / 'configs'


@pytest.fixture
def clock(monkeypatch):
    """Seconds that pass only when the test says so."""
    now = SimpleNamespace(seconds=1000.0)
    monkeypatch.setattr('time.time', lambda: now.seconds)
    return now


def train(hook, clock, epochs, between, load=0.25, step=1.0, start=(0, 0)):
    """Two steps an epoch; what the timer says after every one of them."""
    hub = MessageHub(f'test_time_left_{id(clock)}')
    runner = SimpleNamespace(
        max_epochs=epochs, max_iters=2 * epochs, epoch=0, iter=0, message_hub=hub
    )
    runner.epoch, first = start
    runner.iter = 2 * runner.epoch + first
    told = []
    hook.before_train(runner)
    for epoch in range(runner.epoch, epochs):
        runner.epoch = epoch
        clock.seconds += between[epoch]
        hook.before_train_epoch(runner)
        for batch in range(first, 2):
            clock.seconds += load
            hook.before_train_iter(runner, batch)
            clock.seconds += step
            hook.after_train_iter(runner, batch)
            told.append(hub.get_info('eta'))
            runner.iter += 1
        first = 0
        hook.after_train_epoch(runner)
    return told, hub


def test_time_left_by_hand(clock):
    told, hub = train(TimeLeftHook(), clock, 3, between=[6.0, 8.0, 10.0])
    steps = [1.25 * left for left in (5, 4, 3, 2, 1, 0)]
    epochs = [6 * 2, 6 * 2, 7, 7, 0, 0]  # the mean so far, for each epoch left
    assert told == pytest.approx([a + b for a, b in zip(steps, epochs)])
    for name, value in (('time', 1.25), ('data_time', 0.25)):
        values, _ = hub.get_scalar(f'train/{name}').data
        assert values == pytest.approx([value] * 6), name


def test_a_run_that_goes_on_inside_an_epoch(clock):
    told, _ = train(TimeLeftHook(), clock, 3, [0, 4.0, 5.0], start=(1, 1))
    assert told == pytest.approx([1.25 * 2 + 4, 1.25 * 1, 0])


def test_labels_are_made_before_the_timer_of_steps_begins(tmp_path):
    """With mmengine's order clustering would count as loading."""
    cfg = make_config(draw_images(tmp_path / 'data'), tmp_path / 'work')
    runner = Runner.from_cfg(cfg)
    kinds = [type(hook) for hook in runner.hooks]
    timer = next(k for k in kinds if issubclass(k, IterTimerHook))
    assert kinds.index(PseudoLabelHook) < kinds.index(timer)


def test_configs_have_it():
    cfg = Config.fromfile(CONFIGS / 'gcl_duke.py')
    assert cfg.default_hooks.timer.type == 'TimeLeftHook'
