# SPDX-License-Identifier: Apache-2.0
"""The precision of torch's products, whatever the training has set."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def float32_products(device_type: str, tf32: bool = False) -> Iterator[None]:
    """Products of float32 in float32: without autocast, and without TF32.

    Distances by TF32 or half precision make ties of near misses.

    Args:
        device_type (str): 'cpu', 'cuda', ...
        tf32 (bool): Allow TF32 on CUDA after all. Defaults to False.
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
