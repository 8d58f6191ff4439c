# SPDX-License-Identifier: Apache-2.0
import pytest

from mmreid_gcl.processes import on_rank_zero

from .processes import run


def test_one_process():
    assert on_rank_zero(lambda: 42) == 42
    assert on_rank_zero(lambda: None) is None


def test_an_error_of_one_process_is_that_error():
    def fail():
        raise KeyError('eps')

    with pytest.raises(KeyError, match='eps'):
        on_rank_zero(fail)


def _work(rank):
    calls = []

    def succeed():
        calls.append(rank)
        return 'labels'

    def fail():
        calls.append(rank)
        raise FileNotFoundError('0001.jpg is gone')

    outcomes = [on_rank_zero(succeed)]
    try:
        on_rank_zero(fail)
    except Exception as error:
        outcomes.append((type(error).__name__, str(error)))
    outcomes.append(on_rank_zero(succeed))  # all are still in step
    return outcomes, calls


def test_three_processes(tmp_path):
    (outcomes, calls), *others = run(_work, tmp_path, 3)
    assert outcomes == ['labels', ('FileNotFoundError', '0001.jpg is gone'), 'labels']
    assert calls == [0, 0, 0]
    for outcomes, calls in others:
        first, (kind, message), last = outcomes
        assert first is None and last is None and calls == []
        assert kind == 'RuntimeError'
        assert 'FileNotFoundError: 0001.jpg is gone' in message
