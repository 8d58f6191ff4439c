# SPDX-License-Identifier: Apache-2.0
import numba

from mmreid_gcl.compiled import jit


def test_compiles_where_nothing_is_writable(monkeypatch):
    seen = []

    def njit(cache=False, **options):
        if cache:
            raise RuntimeError('cannot cache function: no locator available')
        seen.append(options)
        return lambda function: function

    monkeypatch.setattr(numba, 'njit', njit)
    assert jit(abs) is abs
    assert jit(inline='always')(abs) is abs
    assert seen == [dict(nogil=True), dict(nogil=True, inline='always')]


def test_result_is_that_of_the_function():
    @jit(fastmath={'contract'})
    def squares(n):
        total = 0
        for i in range(n):
            total += i * i
        return total

    assert squares(10) == 285
