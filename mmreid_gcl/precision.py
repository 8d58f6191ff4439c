# SPDX-License-Identifier: Apache-2.0
"""A context without TF32, whatever the training has set."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress

import torch


@contextmanager
def float32_products(device_type: str, tf32: bool = False) -> Iterator[None]:
    """Products of float32 in float32: without autocast, and without TF32.

    Distances by TF32 or half precision make ties of near misses. ``tf32`` allows it on
    CUDA after all.
    """
    matmul = torch.backends.cuda.matmul
    # Newer torch refuses the old switch once the new one has been used.
    if hasattr(matmul, 'fp32_precision'):
        switch, value = 'fp32_precision', 'tf32' if tf32 else 'ieee'
    else:
        switch, value = 'allow_tf32', tf32
    before = getattr(matmul, switch)
    setattr(matmul, switch, value)
    try:
        with torch.autocast(device_type, enabled=False):
            yield
    finally:
        setattr(matmul, switch, before)


@contextmanager
def exact_float32(exact: bool = True) -> Iterator[None]:
    """A block in which a GPU computes float32 products in float32, if ``exact``.

    PyTorch lets convolutions round their operands to TF32, whose mantissa is that of
    float16, unless it is told otherwise; neighbours then are others
    (docs/precision.md). Settings made by torch's newer ``fp32_precision`` are left as
    they are: they were made on purpose.
    """
    if not exact:
        yield
        return
    before = []
    for place in (torch.backends.cudnn, torch.backends.cuda.matmul):
        # refuses where fp32_precision was set for some operations alone
        with suppress(RuntimeError):
            before.append((place, place.allow_tf32))
    for place, _ in before:
        place.allow_tf32 = False
    try:
        yield
    finally:
        for place, value in before:
            place.allow_tf32 = value
