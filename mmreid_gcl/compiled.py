# SPDX-License-Identifier: Apache-2.0
"""The numba decorator of compiled kernels."""

from __future__ import annotations

from collections.abc import Callable

import numba


def jit(function: Callable | None = None, **options) -> Callable:
    """Compile for use in threads, keeping the result on disk where possible.

    ``options`` are more arguments of ``numba.njit``, such as ``inline``; alone they
    make a decorator. The result releases the GIL while it runs.
    """
    if function is None:
        return lambda wrapped: jit(wrapped, **options)
    try:
        return numba.njit(nogil=True, cache=True, **options)(function)
    except RuntimeError:  # neither the package's folder nor a home is writable
        return numba.njit(nogil=True, **options)(function)
