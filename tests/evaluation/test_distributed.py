# SPDX-License-Identifier: Apache-2.0
"""Two processes must give what one gives."""

import pickle

import pytest
import torch.multiprocessing

from .distributed_worker import evaluate, make_samples, run, run_second


@pytest.fixture(scope='module')
def outcomes(tmp_path_factory):
    folder = tmp_path_factory.mktemp('gloo')
    # Rank 0 is this process: importing everything is what takes time.
    second = torch.multiprocessing.spawn(run_second, (str(folder),), join=False)
    first = run(0, str(folder))
    while not second.join():
        pass
    return first, pickle.loads((folder / 'second.pkl').read_bytes())


@pytest.fixture(scope='module')
def alone():
    return evaluate(make_samples())


@pytest.mark.parametrize(
    'name',
    [
        'interleaved',
        'shards',
        'one_rank_empty',
        'tiny_blocks',
        'mixed_types',
        'interleaved_again',
    ],
)
def test_equal_to_one_process(outcomes, alone, name):
    for outcome in outcomes:
        assert outcome[name] == alone


def test_order_matters_here(alone):
    """Else the test above could not fail: ties go by gallery index."""
    assert evaluate(make_samples()[::-1]) != alone


def test_two_datasets(outcomes):
    parts = [evaluate(make_samples(seed)) for seed in (1, 2)]
    expected = {key: (parts[0][key] + parts[1][key]) / 2 for key in parts[0]}
    for name, part in zip('ab', parts):
        expected.update({key.replace('/', f'/{name}/'): part[key] for key in part})
    for outcome in outcomes:
        assert outcome['two_datasets'] == pytest.approx(expected)


@pytest.mark.parametrize(
    ('name', 'message'),
    [
        ('no_match', 'None of the 12 queries has a match'),
        ('too_few', 'got 50 samples of 60'),
        ('nothing', 'got no data samples'),
    ],
)
def test_an_error_ends_all_processes(outcomes, name, message):
    assert outcomes[0][name].startswith('ValueError') and message in outcomes[0][name]
    assert outcomes[1][name].startswith('RuntimeError: Rank 0 failed and all')
    assert message in outcomes[1][name]


def test_different_widths(outcomes):
    for outcome in outcomes:
        assert (
            'features of [3, 4] channels on different ranks' in outcome['other_width']
        )
