# SPDX-License-Identifier: Apache-2.0
"""Rows of tensors from all processes, in the order of the data set."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from mmengine.dist import all_gather, is_main_process
from torch import Tensor

#: Bytes that every process contributes to one collective call.
_BLOCK_BYTES = 2**25


def gather_rows(rows: Tensor, counts: Sequence[int]) -> Tensor | None:
    """Concatenate the rows of all processes on the main one.

    They travel as tensors, padded to equal length, some megabytes at a time:
    no process but the main one ever holds all of them.

    Args:
        rows (Tensor): (n, ...), of this process; n may be 0.
        counts (Sequence[int]): n of every process.

    Returns:
        Tensor | None: (sum of counts, ...), process by process, on the device
        of ``rows``; None on the other processes.
    """
    if len(counts) == 1:
        return rows
    total, shape = sum(counts), tuple(rows.shape[1:])
    result = rows.new_empty((total, *shape)) if is_main_process() else None
    begins = np.cumsum([0, *counts])
    step = max(1, _BLOCK_BYTES // max(1, rows[:0].new_empty(shape).nbytes))
    for start in range(0, max(counts), step):
        own = rows[start : start + step]
        padded = rows.new_zeros((min(step, max(counts) - start), *shape))
        padded[: len(own)] = own
        for begin, count, part in zip(begins, counts, all_gather(padded)):
            real = min(count - start, len(padded))
            if result is not None and real > 0:
                result[begin + start : begin + start + real] = part[:real]
    return result


def dataset_order(
    sample_idx: np.ndarray, groups: np.ndarray, counts: Sequence[int], size: int
) -> np.ndarray:
    """Which gathered rows make up the data set, in its order.

    Samplers pad so that all processes have equally many samples, which makes
    duplicates. With valid sample indices any sampler's are put right. Without
    them, the order of mmengine's ``DefaultSampler`` (not shuffled) is assumed:
    process r of W holds samples r, r + W, ...

    Args:
        sample_idx (np.ndarray): (n,), of :func:`gather_rows`' order, the
            position in the data set; -1 where it is not known.
        groups (np.ndarray): (n,), the data set a sample comes from: positions
            of different data sets may be equal.
        counts (Sequence[int]): Samples of every process.
        size (int): Number of samples without duplicates.

    Returns:
        np.ndarray: (size,), rows.

    Raises:
        ValueError: If there are fewer than ``size`` samples.
    """
    total = sum(counts)
    if total < size:
        raise ValueError(
            f'ReIDMetric got {total} samples of {size} in the data set. Set '
            'drop_last=False in the dataloader and pass the number of samples to '
            'evaluate().'
        )
    if (sample_idx >= 0).all():
        keys = np.stack([groups, sample_idx], axis=1)
        rows = np.unique(keys, axis=0, return_index=True)[1]
        if len(rows) == size:
            return rows
    place = np.concatenate([np.arange(count) for count in counts])
    process = np.repeat(np.arange(len(counts)), counts)
    return np.lexsort((process, place))[:size]
