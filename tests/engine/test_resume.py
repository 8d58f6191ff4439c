# SPDX-License-Identifier: Apache-2.0
"""A killed training ends with the weights of one that was not, bit by bit."""

import random
import time

import pytest

from mmreid_gcl.checkpoint import read_checkpoint

from .tiny_training import (
    differences,
    disturbed,
    finish,
    log,
    make_config,
    outcome,
    run,
    start,
    train,
)

LOADING = [(0, False), (2, False), (2, True)]


def test_killed_inside_an_epoch(images, reference, tmp_path):
    options = dict(workers=2, persistent=True)
    config = disturbed(make_config(images, tmp_path, **options), 'before_train_iter', 7)
    assert run(config) == -9
    assert (tmp_path / 'last_checkpoint').read_text().endswith('epoch_1.pth')
    assert run(make_config(images, tmp_path, resume=True, **options)) == 0
    assert differences(outcome(tmp_path), reference) == []


def test_killed_before_the_last_validation(images, reference, tmp_path):
    """mmengine alone runs nothing at all after such a resume."""
    assert run(disturbed(make_config(images, tmp_path), 'before_val_epoch', 3)) == -9
    assert (tmp_path / 'last_checkpoint').read_text().endswith('epoch_3.pth')
    assert '"epoch": 2' in (tmp_path / 'last_validation.json').read_text()
    config = make_config(images, tmp_path, resume=True, log_level='INFO')
    assert run(config) == 0
    assert 'owes the validation of epoch 3' in log(config)
    assert differences(outcome(tmp_path), reference) == []


def test_two_runs_are_the_same(images, reference, tmp_path):
    """Also with another number of workers, which have no part in randomness."""
    train(make_config(images, tmp_path / 'a', workers=2))
    assert differences(outcome(tmp_path / 'a'), reference) == []
    options = {'randomness': dict(seed=3, deterministic=True)}
    assert run(make_config(images, tmp_path / 'b', **options)) == 0
    assert differences(outcome(tmp_path / 'b'), reference) == []


def test_another_seed_is_another_run(images, reference, tmp_path):
    """So that equality above means something."""
    train(make_config(images, tmp_path, **{'randomness.seed': 4}))
    assert differences(outcome(tmp_path)['state_dict'], reference['state_dict'])


def test_seed_of_the_checkpoint_counts(images, tmp_path):
    """A run without a seed draws one, and the resumed run keeps it."""
    config = make_config(
        images, tmp_path, **{'randomness.seed': None, 'train_cfg.max_epochs': 1}
    )
    seed = train(config).seed
    config = make_config(
        images, tmp_path, resume=True, **{'randomness.seed': None, 'log_level': 'ERROR'}
    )
    runner = train(config)
    assert runner.seed == seed
    assert runner.train_loop.dataloader.sampler.seed == seed
    assert read_checkpoint(tmp_path / 'epoch_3.pth')['meta']['seed'] == seed


def test_validation_is_not_repeated(images, tmp_path):
    """The checkpoint of epoch 3 was written before it, the record after it."""
    train(make_config(images, tmp_path))
    config = make_config(images, tmp_path, resume=True)
    disturbed(config, 'before_val_epoch', 1, 'spoil_weights')
    runner = train(config)
    assert runner.hooks[-1].left == 1
    # a new run in this folder owes its validations, whatever the record says
    assert run(disturbed(make_config(images, tmp_path), 'before_val_epoch', 1)) == -9
    config = make_config(images, tmp_path, resume=True, **{'train_cfg.max_epochs': 1})
    train(config)
    assert '"epoch": 1' in (tmp_path / 'last_validation.json').read_text()


def test_resumed_without_validation(images, tmp_path):
    """--no-validate: what the killed run owed is not asked for any more."""
    assert run(disturbed(make_config(images, tmp_path), 'before_val_epoch', 1)) == -9
    config = make_config(images, tmp_path, resume=True)
    config.val_dataloader = config.val_evaluator = config.val_cfg = None
    train(config)
    assert (tmp_path / 'epoch_3.pth').exists()


POINTS = [
    ('before_train', 1),
    ('before_train_epoch', 3),
    ('before_train_iter', 12),
    ('after_train_iter', 12),
    ('before_save_checkpoint', 3),
    ('fsync', 9),
    ('after_train_epoch', 3),
    ('before_val_iter', 6),
    ('after_val_epoch', 3),
]


@pytest.mark.slow
@pytest.mark.parametrize(('workers', 'persistent'), LOADING)
def test_killed_at_random_points(images, reference, tmp_path, workers, persistent):
    """Five kills of one training, each at a random point of the rest of it."""
    rng = random.Random(workers + persistent)
    kills = 0
    for turn in range(5):
        options = dict(workers=workers, persistent=persistent, resume=turn > 0)
        point, count = rng.choice(POINTS)
        config = make_config(images, tmp_path, **options)
        disturbed(config, point, rng.randint(1, max(1, count // 2)))
        kills += run(config) == -9
    assert kills >= 4
    options['resume'] = True
    assert run(make_config(images, tmp_path, **options)) == 0
    assert differences(outcome(tmp_path), reference) == []


@pytest.mark.slow
@pytest.mark.parametrize(('workers', 'persistent'), LOADING)
def test_killed_at_random_times(images, reference, tmp_path, workers, persistent):
    options = dict(workers=workers, persistent=persistent)
    begin = time.perf_counter()
    assert run(make_config(images, tmp_path / 'timed', **options)) == 0
    seconds = time.perf_counter() - begin
    rng = random.Random()
    kills = 0
    for turn in range(4):
        config = make_config(images, tmp_path / 'run', resume=turn > 0, **options)
        process = start(config)
        process.join(rng.uniform(0.2, 0.8) * seconds)
        process.kill()
        kills += finish(process, config) == -9
    assert kills
    assert run(make_config(images, tmp_path / 'run', resume=True, **options)) == 0
    assert differences(outcome(tmp_path / 'run'), reference) == []
