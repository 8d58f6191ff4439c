# SPDX-License-Identifier: Apache-2.0
"""Some gloo processes for a test."""

import os
from datetime import timedelta

import torch
import torch.distributed
import torch.multiprocessing as mp


def _start(rank, work, folder, world_size, timeout, args):
    torch.set_num_threads(1)
    os.environ['LOCAL_RANK'] = str(rank)  # mmengine asks for it, as torchrun sets it
    torch.distributed.init_process_group(
        'gloo',
        init_method=f'file://{folder}/rendezvous',
        rank=rank,
        world_size=world_size,
        timeout=timedelta(seconds=timeout),
    )
    torch.save(work(rank, *args), f'{folder}/{rank}.pt')
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


def run(work, folder, world_size, *args, timeout=60, method=None):
    """What ``work(rank, *args)`` returns in each of the processes."""
    folder.mkdir(exist_ok=True)
    # as a DataLoader's workers start; a fork is quicker, but not after CUDA
    method = method or ('spawn' if torch.cuda.is_available() else 'fork')
    arguments = (work, str(folder), world_size, timeout, args)
    mp.start_processes(_start, arguments, world_size, start_method=method)
    paths = [folder / f'{rank}.pt' for rank in range(world_size)]
    return [torch.load(path, weights_only=False) for path in paths]
