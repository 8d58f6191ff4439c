# SPDX-License-Identifier: Apache-2.0
"""Feature extraction for a whole data set."""

from __future__ import annotations

import os
from functools import partial

import numpy as np
import torch
from mmengine import dist
from mmengine.dataset import pseudo_collate
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from mmreid_gcl.eval_mode import evaluating
from mmreid_gcl.processes import gather_rows, shard, share_failure, unwrapped

from .signals import end_workers, make_patient


@torch.inference_mode()
def extract_features(
    model: nn.Module,
    dataset: Dataset,
    batch_size: int = 256,
    num_workers: int = 4,
    amp_dtype: str | torch.dtype | None = None,
    out: np.ndarray | str | os.PathLike | None = None,
    title: str = 'embed',
) -> Tensor | None:
    """Embed all images, shared among the ranks, in the order of the data set.

    Args:
        model (nn.Module): With mode 'tensor', possibly wrapped. Runs in eval
            mode; every module is put back into the mode it was in.
        dataset (Dataset): N images with their test transforms.
        batch_size (int): Images a rank embeds at a time. Defaults to 256.
        num_workers (int): Loading processes a rank. Defaults to 4.
        amp_dtype (str | torch.dtype, optional): 'float16' or 'bfloat16' runs
            the model under autocast. Defaults to None.
        out (np.ndarray | str, optional): Where the features go: an (N, C) float32
            array, or the name of a .npy file, which is written as a memory map
            so that N * C * 4 bytes need not fit into memory. What rank 0 gives
            counts; the others keep their own part in memory. Defaults to
            memory.
        title (str): Title of the progress bar.

    Returns:
        Tensor | None: (N, C) float32 on the CPU on rank 0, None on the others.

    Raises:
        ValueError: If ``out`` is an array of another shape or type.
        RuntimeError: If images cannot be read here, or on another rank.
    """
    model = unwrapped(model)
    if isinstance(amp_dtype, str):
        amp_dtype = getattr(torch, amp_dtype)
    rank, world_size = dist.get_dist_info()
    mine = shard(len(dataset), rank, world_size)
    loader = DataLoader(
        dataset,
        batch_size=batch_size,
        sampler=mine,
        num_workers=num_workers,
        collate_fn=pseudo_collate,
    )
    make_patient(loader)
    count = len(dataset)
    # rank 0 has room for all, and its own part stands first
    room = None if rank else partial(_room, out, count)
    features = None
    done, error = 0, None
    batches = iter(loader)
    # a bar that reports at most every second keeps log files short
    bar = tqdm(
        total=len(mine), desc=title, unit='img', mininterval=1, disable=rank != 0
    )
    try:
        with evaluating(model):
            for batch in batches:
                data = model.data_preprocessor(batch, False)
                inputs = data['inputs']
                with torch.autocast(
                    inputs.device.type, amp_dtype, enabled=amp_dtype is not None
                ):
                    part = model(inputs, mode='tensor').float().cpu()
                if features is None:
                    width = part.shape[1]
                    features = room(width) if room else torch.empty(len(mine), width)
                features[done : done + len(part)] = part
                done += len(part)
                bar.update(len(part))
    except Exception as raised:
        error = raised
    finally:
        bar.close()
        end_workers(batches)
    share_failure(error)  # the others would wait for this rank's part
    if world_size == 1:
        return features
    width = torch.tensor([0 if features is None else features.shape[1]])
    dist.all_reduce(width, op='max')  # a rank without images does not know it
    own = torch.empty(0, int(width)) if features is None else features[: len(mine)]
    counts = [len(shard(count, other, world_size)) for other in range(world_size)]
    return gather_rows(own, counts, out=features)


def _room(out: np.ndarray | str | os.PathLike | None, count: int, width: int) -> Tensor:
    """Where the features of all images will stand: (N, C), not yet written."""
    if out is None:
        return torch.empty(count, width)
    if isinstance(out, (str, os.PathLike)):
        array = np.lib.format.open_memmap(out, 'w+', np.float32, (count, width))
    else:
        array = out
    if array.shape != (count, width) or array.dtype != np.float32:
        raise ValueError(
            f'extract_features: out is {array.dtype} {array.shape}; {count} features '
            f'of width {width} need float32 {(count, width)}.'
        )
    return torch.from_numpy(array)
