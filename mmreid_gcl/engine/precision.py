# SPDX-License-Identifier: Apache-2.0
"""float32 that is float32."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def exact_float32(exact: bool = True) -> Iterator[None]:
    """A block in which a GPU computes float32 products in float32.

    PyTorch lets convolutions round their operands to TF32, whose mantissa is that
    of float16, unless it is told otherwise; neighbours then are others
    (docs/precision.md). Settings made by torch's newer ``fp32_precision`` are left
    as they are: they were made on purpose.

    Args:
        exact (bool): False changes nothing. Defaults to True.
    """
    if not exact:
        yield
        return
    places = (torch.backends.cudnn, torch.backends.cuda.matmul)
    before = []
    try:
        for place in places:
            before.append((place, place.allow_tf32))
    except RuntimeError:  # fp32_precision is in use
        before = []
    for place, _ in before:
        place.allow_tf32 = False
    try:
        yield
    finally:
        for place, value in before:
            place.allow_tf32 = value
