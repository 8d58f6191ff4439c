# SPDX-License-Identifier: Apache-2.0
"""Some gloo processes for a test."""

from datetime import timedelta

import torch
import torch.distributed
import torch.multiprocessing as mp


def _start(rank, work, folder, world_size, *args):
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        'gloo',
        init_method=f'file://{folder}/rendezvous',
        rank=rank,
        world_size=world_size,
        timeout=timedelta(seconds=60),
    )
    result = work(rank, *args)
    torch.save(result, f'{folder}/{rank}.pt')
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


def run(work, folder, world_size, *args):
    """What ``work(rank, *args)`` returns in each of the processes."""
    # as a DataLoader's workers start; a fork is quicker, but not after CUDA
    method = 'spawn' if torch.cuda.is_available() else 'fork'
    mp.start_processes(
        _start, (work, str(folder), world_size, *args), world_size, start_method=method
    )
    return [
        torch.load(f'{folder}/{rank}.pt', weights_only=False)
        for rank in range(world_size)
    ]
