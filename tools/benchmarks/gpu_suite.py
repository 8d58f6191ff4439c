# SPDX-License-Identifier: Apache-2.0
"""Everything that waits for a GPU, in one command and a bounded time.

    python tools/benchmarks/gpu_suite.py --minutes 8
    python tools/benchmarks/gpu_suite.py --only neighbours tests
    python tools/benchmarks/gpu_suite.py --minutes 0    # print what --out holds

Each measurement is written to ``--out`` (JSON) when it is made, and is not made again:
the same command goes on where it stopped. What fails is recorded with its error, what
does not fit into the time is named; both are tried again. Without a GPU it needs
``--tiny``, which checks that it works.
"""

from __future__ import annotations

import argparse
import faulthandler
import gc
import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import warnings
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, suppress
from copy import deepcopy
from functools import lru_cache, partial
from importlib import import_module
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # this checkout
sys.path.insert(0, str(Path(__file__).parent))

import epoch as epochs
import numpy as np
import torch
import train_step
from clustering import cluster
from common import machine, seeded_features
from mmengine.logging import MMLogger
from ranking import make_problem
from torch import Tensor, nn
from torch import distributed as torch_dist

from mmreid_gcl import models
from mmreid_gcl.apis import load_config
from mmreid_gcl.clustering import knn_search
from mmreid_gcl.clustering._knn_torch import RowSearch, on_device
from mmreid_gcl.clustering.features import Features, prepare_features
from mmreid_gcl.clustering.recall import measure_recall
from mmreid_gcl.datasets.synthetic import Layout, write_synthetic
from mmreid_gcl.evaluation import evaluate_ranking
from mmreid_gcl.parallel import all_cores, num_threads
from mmreid_gcl.precision import exact_float32
from mmreid_gcl.processes import on_rank_zero

ROOT = Path(__file__).resolve().parents[2]
GIB = 2**30

#: What the parts measure, for the tables.
PARTS = dict(
    equality='CPU against GPU: largest difference over the largest value of losses, '
    'gradients of features and memories after a step; of the metric, mAP and CMC in %',
    step='Training step: ResNet-50, 16 x 8 random images of 256 x 128, 700 clusters; '
    'medians; the aim for neck, GCL, losses and memories is 5 % of a step',
    compiled='The same in bfloat16, channels last, compiled',
    neighbours='Neighbours by torch, k = 30, ambiguous features, with their way to '
    'the GPU and back; `all_s` is scaled up where only some rows were searched',
    memory='Peak of GPU memory in training steps',
    clustering='Neighbours by torch, Jaccard distance and DBSCAN, seconds',
    epoch='Last of two epochs of gcl_market on rendered images, with k-means labels; '
    'images of training steps a second, and the share of waiting for data in them',
    tests='Tests that need a GPU (`pytest -m gpu`)',
    processes='Processes with one GPU each, NCCL (gloo on CPUs)',
    determinism='Two runs of ten training steps with one seed',
)


class LeftOut(Exception):
    """What cannot be measured here, and why."""


class Measurement(NamedTuple):
    """A row of a table.

    Attributes:
        part (str): One of :data:`PARTS`.
        row (str): Its name.
        seconds (float): What it is expected to take on a GPU; stopped after thrice.
        work (Callable[[], dict]): Gives the other cells.
    """

    part: str
    row: str
    seconds: float
    work: Callable[[], dict]


# -- equality ------------------------------------------------------------------------


def off(found: Tensor, expected: Tensor) -> float:
    """Largest difference over the largest value."""
    found, expected = found.detach().double().cpu(), expected.detach().double().cpu()
    return float((found - expected).abs().max() / expected.abs().max().clamp(1e-30))


HEADS = {
    'SelectiveMemoryHead': dict(
        policy=('selective', 'average', 'sequential')  # 'random' draws on each device
    ),
    'CameraProxyHead': {},
    'HybridMemoryHead': {},
    'IdentityHead': dict(num_classes=(50,)),
    'TripletHead': {},
    'InstanceContrastHead': dict(consistency=(10,)),
    'NeighbourLabelHead': {},
}


def head_outcome(head: nn.Module, case: dict, device: str) -> dict[str, Tensor]:
    """Losses, their gradient and the memory after a step, on a device."""
    head = deepcopy(head).to(device)
    labels = case['labels'].to(device)
    if isinstance(head, models.BaseMemoryHead):
        head.init_memory(
            case['features'].to(device), labels, dict(camid=case['camids'].numpy())
        )
    batch = case['batch'].to(device)
    queries = case['queries'].detach().to(device).requires_grad_()
    own = labels[batch]
    if isinstance(head, models.HybridMemoryHead):
        own = head.classes.to(device)[batch]
    images = models.BatchImages(
        own,
        index=batch,
        camid=case['camids'].to(device)[batch],
        weak=case['features'].to(device)[batch],
    )
    losses = head.loss(queries, own, images)
    sum(losses.values()).backward()
    out = dict(losses=torch.stack(list(losses.values())), gradients=queries.grad)
    if isinstance(head, models.BaseMemoryHead):
        head.apply_update()
        out['memory'] = head.memory
    return out


def equality_of_head(name: str, options: dict, width: int, device: str) -> dict:
    """Both devices in float64 and float32."""
    torch.manual_seed(0)
    labels = torch.arange(400) % 50
    features = torch.randn(50, width)[labels] + torch.randn(400, width)
    batch = torch.randperm(400)[:128]
    case = dict(labels=labels, camids=torch.randint(1, 7, (400,)), batch=batch)
    arguments = () if name in ('TripletHead', 'InstanceContrastHead') else (width,)
    head = getattr(models, name)(*arguments, **options)
    out = {}
    for dtype in (torch.float64, torch.float32):
        moved = (features[batch] + torch.randn(128, width)).to(dtype)
        case.update(features=features.to(dtype), queries=moved)
        typed = deepcopy(head).to(dtype)
        expected = head_outcome(typed, case, 'cpu')
        found = head_outcome(typed, case, device)
        for key, value in expected.items():
            out[f'{key} {str(dtype)[6:]}'] = off(found[key], value)
    return out


def equality_of_neck(name: str, width: int, device: str) -> dict:
    """Outputs and gradients of a neck in training mode."""
    torch.manual_seed(0)
    shape = (128, width, 4, 2) if name == 'EmbeddingNeck' else (128, width)
    x, weights = torch.randn(shape), torch.randn(shape[:2])
    neck, out = getattr(models, name)(width), {}
    for dtype in (torch.float64, torch.float32):
        results = []
        for place in ('cpu', device):
            part = deepcopy(neck).to(place, dtype)
            inputs = x.detach().to(place, dtype).requires_grad_()
            found = part(inputs)
            loss = (found[:, :width] * weights.to(place, dtype)).sum()
            loss = loss + found[:, width:].pow(2).sum()
            loss.backward()
            results.append(dict(losses=loss[None], gradients=inputs.grad))
        for key in results[0]:
            out[f'{key} {str(dtype)[6:]}'] = off(results[1][key], results[0][key])
    return out


def equality_of_metric(size: tuple[int, int, int], device: str) -> dict:
    """Of mAP, mINP and CMC, in percent points."""
    query, pids, camids, gallery, *gallery_ids = make_problem(*size, 'ambiguous', 0)
    out = {}
    for dtype in (torch.float64, torch.float32):
        expected, found = (
            evaluate_ranking(
                torch.from_numpy(query).to(place, dtype), pids, camids,
                torch.from_numpy(gallery).to(place, dtype), *gallery_ids,
            )
            for place in ('cpu', device)
        )  # fmt: skip
        differences = [
            np.abs(np.asarray(found[key]) - np.asarray(expected[key])).max()
            for key in expected
        ]
        out[f'losses {str(dtype)[6:]}'] = float(max(differences))
    return out


def equality(sizes: argparse.Namespace, device: str) -> Iterator[Measurement]:
    """Every head, both necks, and the metric."""

    def exact(work: Callable[[], dict]) -> dict:
        with exact_float32():
            return work()

    for name, choices in HEADS.items():
        options = [
            {key: value} for key, values in choices.items() for value in values
        ] or [{}]
        for option in options:
            work = partial(equality_of_head, name, option, sizes.width, device)
            policy = f', {option["policy"]}' if 'policy' in option else ''
            yield Measurement('equality', name + policy, 2, partial(exact, work))
    for name in ('EmbeddingNeck', 'GCLNeck'):
        work = partial(equality_of_neck, name, sizes.width, device)
        yield Measurement('equality', name, 2, partial(exact, work))
    work = partial(equality_of_metric, sizes.ranking, device)
    yield Measurement('equality', 'metric, percent points', 5, work)


# -- steps and memory ----------------------------------------------------------------


def empty(device: str) -> None:
    """Give back what earlier measurements held on the device."""
    gc.collect()
    if device == 'cuda':
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def time_step(arguments: list[str], device: str) -> dict:
    """A training step and the share of what is not backbone in it."""
    args = train_step.parse_args(arguments)
    if args.amp == 'float16' and device == 'cpu':
        raise LeftOut('processors are slow with float16')
    empty(device)
    parts = train_step.measure(args, torch.device(device))
    whole = parts.pop('step')
    small = parts['neck, GCL, losses'] + parts['memory update']
    out = {'ms': 1e3 * whole, 'images/s': args.identities * args.instances / whole}
    out.update({f'{name}, ms': 1e3 * value for name, value in parts.items()})
    out['heads and memories, %'] = 100 * small / whole
    if device == 'cuda':
        out['peak GiB'] = torch.cuda.max_memory_allocated() / GIB
    if args.compile or args.compile_heads:
        torch._dynamo.reset()
    return out


def steps(sizes: argparse.Namespace, device: str) -> Iterator[Measurement]:
    """Formats of numbers and of memory."""
    last, bfloat16 = '--channels-last', ['--amp', 'bfloat16']
    rows = {
        'float32': [],
        'TF32': ['--tf32'],
        'TF32, channels last': ['--tf32', last],
        'bfloat16, channels last': [*bfloat16, last],
        'float16, channels last': ['--amp', 'float16', last],
        'bfloat16': bfloat16,
        'float16': ['--amp', 'float16'],
        'float32, channels last': [last],
    }
    for row, options in rows.items():
        work = partial(time_step, [*sizes.step, *options], device)
        yield Measurement('step', row, 5, work)


def compiled_steps(sizes: argparse.Namespace, device: str) -> Iterator[Measurement]:
    """Compilation takes longer than all other formats together."""
    heads, all_of_it = ['--compile-heads', sizes.backend], ['--compile', sizes.backend]
    rows = {
        'heads': heads,
        'heads, backbone and necks': [*heads, *all_of_it],
    }
    half = [*sizes.step, '--amp', 'bfloat16', '--channels-last']
    for (row, options), seconds in zip(rows.items(), (20, 50)):
        work = partial(time_step, [*half, *options], device)
        yield Measurement('compiled', row, seconds, work)


def peak(arguments: list[str], instances: int, device: str) -> dict:
    """Of two steps."""
    if device != 'cuda':
        raise LeftOut('needs a GPU')
    args = train_step.parse_args([*arguments, '--instances', str(instances)])
    empty(device)
    before = torch.cuda.memory_allocated()
    with exact_float32():
        step = train_step.Step(args, torch.device(device))
        for _ in range(2):
            step.step()
    top = torch.cuda.max_memory_allocated() - before
    return {'GiB': top / GIB, 'reserved GiB': torch.cuda.max_memory_reserved() / GIB}


def memory(sizes: argparse.Namespace, device: str) -> Iterator[Measurement]:
    """Two batches in two formats."""
    for instances in (8, 16):
        for row, options in (
            ('float32', []),
            ('bfloat16, channels last', ['--amp', 'bfloat16', '--channels-last']),
        ):
            work = partial(peak, [*sizes.step, *options], instances, device)
            yield Measurement('memory', f'16 x {instances}, {row}', 4, work)


# -- neighbours ----------------------------------------------------------------------


def require_memory(n: int, c: int, device: str) -> None:
    """Raise :class:`LeftOut` where features of this size do not fit."""
    needed = 4 * n * c
    meminfo = Path('/proc/meminfo')
    found = re.search(r'MemAvailable:\s+(\d+)', meminfo.read_text())
    free = 1024 * int(found.group(1))
    if free < 1.5 * needed + GIB:
        raise LeftOut(f'{free / GIB:.1f} GiB of host memory are free')
    if device == 'cuda':
        free = torch.cuda.mem_get_info()[0]
        if free < 2.5 * needed + 2 * GIB:  # the rows, a copy on its way to float16
            raise LeftOut(f'{free / GIB:.1f} GiB of GPU memory are free')


@lru_cache(1)
def ambiguous(n: int, c: int) -> Features:
    """Features of the size that was asked for last are kept."""
    return prepare_features(seeded_features(n, c, 'ambiguous')[0], unit=True)


def search_neighbours(
    n: int, c: int, precision: str, device: str, seconds: float
) -> dict:
    """All rows are searched if that fits into ``seconds``, else the first ones."""
    empty(device)
    require_memory(n, c, device)
    features = ambiguous(n, c)

    def searched(rows: int | None = None) -> tuple[float, int, np.ndarray]:
        start = time.perf_counter()
        on_it = on_device(features, torch.device(device))
        search = RowSearch(*on_it, 29, precision)
        moved = time.perf_counter() - start
        rows = min(n, rows or 8 * search.chunk)
        indices = search.rows(0, rows)[1]  # on the CPU: the device is waited for
        return moved, time.perf_counter() - start - moved, indices

    with all_cores():
        searched()  # wakes the device
        moved, spent, indices = searched()
        whole = moved + spent * n / len(indices)
        if len(indices) < n and whole < seconds:
            moved, spent, indices = searched(n)
            whole = moved + spent
        recall = measure_recall(features, indices, 1000 if n <= 200_000 else 200)
    return {'rows searched': len(indices), 'all_s': whole, 'recall@29': recall}


def neighbours(
    sizes: argparse.Namespace, device: str, large: bool
) -> Iterator[Measurement]:
    """Sizes of Market-1501 and MSMT17, and beyond."""
    for n in sizes.rows:
        if (n > 500_000) != large:
            continue
        formats = ('float32', 'float16') if n > 50_000 else (
            'float32', 'tf32', 'float16', 'bfloat16'
        )  # fmt: skip
        for precision in ('float16',) if large else formats:
            seconds = 120 if large else 4 + n / 8000
            work = partial(
                search_neighbours, n, sizes.width, precision, device, seconds / 2
            )
            row = f'{n:,} x {sizes.width}, {precision}'
            yield Measurement('neighbours', row, seconds, work)


def cluster_by(n: int, c: int, device: str) -> dict:
    """Steps of a clustering; the search goes to the device."""
    x = ambiguous(n, c).x
    knn = dict(backend='torch', device=device)
    cluster(x[: max(100, n // 10)], knn)  # compiles, wakes the device
    run = cluster(x, knn)
    keys = ('knn', 'encode', 'jaccard', 'dbscan', 'total')
    return {key: float(run[key]) for key in keys}


def clusterings(sizes: argparse.Namespace, device: str) -> Iterator[Measurement]:
    """Of the sizes of benchmarks."""
    for n in sizes.rows[:2]:
        work = partial(cluster_by, n, sizes.width, device)
        yield Measurement('clustering', f'{n:,} x {sizes.width}', 6 + n / 5000, work)


# -- epochs --------------------------------------------------------------------------


def time_epoch(
    folder: Path, sizes: argparse.Namespace, options: dict, amp: str | None
) -> dict:
    """Train on images that are rendered into a folder, once."""
    write_synthetic(
        folder, Layout().with_num_images(sizes.images), progress=False, height=128
    )
    with tempfile.TemporaryDirectory() as work_dir:
        cfg = load_config(
            str(ROOT / 'configs' / 'gcl_market.py'),
            {
                'data_root': str(folder),
                'train_dataloader.num_workers': sizes.workers,
                **sizes.epoch,
                **options,
            },
            work_dir,
        )
        cfg.model.backbone.init_cfg = None
        cfg.log_level = 'WARNING'
        if amp:
            cfg.optim_wrapper.update(type='MixedPrecisionOptimWrapper', dtype=amp)
        hook = cfg.default_hooks.pseudo_labels
        hook.extract.num_workers = sizes.workers
        # random weights: whether DBSCAN finds clusters is not what is measured
        hook.clusterer = dict(type='KMeansClusterer', num_clusters=sizes.clusters)
        found = epochs.measure(cfg, batches=sizes.batches)
    parts, count = found['parts'], found['steps'] * found['images']
    embedding = parts['embed the training set']
    outside = embedding + parts['refine and cluster'] + parts['checkpoint']
    training = found['seconds'] - outside
    return {
        'images/s': count / training,
        'waiting for data, %': 100 * parts['waiting for data'] / training,
        'embedded, images/s': found['embedded'] / embedding,
        'epoch, s': found['seconds'],
        'workers': sizes.workers,
    }


def loading_processes() -> int:
    """One a core; fewer where shared memory does not hold two batches of each."""
    batch = 128 * 3 * 256 * 128
    room = shutil.disk_usage('/dev/shm').free // (3 * batch)
    return max(1, min(num_threads(), room))


def epoch_rows(sizes: argparse.Namespace, folder: Path) -> Iterator[Measurement]:
    """With and without decoded images in memory."""
    rows = {
        'bfloat16, channels last': ({'model.channels_last': True}, 'bfloat16'),
        'bfloat16, channels last, image cache': (
            {'model.channels_last': True, 'image_cache': dict(limit_gb=1)},
            'bfloat16',
        ),
        'float32': ({}, None),
    }
    for (row, (options, amp)), seconds in zip(rows.items(), (30, 20, 20)):
        work = partial(time_epoch, folder, sizes, options, amp)
        yield Measurement('epoch', row, seconds, work)


# -- processes and determinism -------------------------------------------------------


def in_processes(work: Callable, count: int, *args) -> list:
    """What ``work(rank, count, *args)`` gives in new processes."""
    pool = ProcessPoolExecutor(count, get_context('spawn'))
    try:
        futures = [pool.submit(work, rank, count, *args) for rank in range(count)]
        return [future.result() for future in futures]
    except BaseException:
        for process in list(pool._processes.values()):
            process.kill()
        raise
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def exchange(rank: int, count: int, rendezvous: str, device: str) -> dict:
    """Collectives, SyncBN and the shared search of one rank."""
    if device == 'cuda':
        torch.cuda.set_device(rank)
    else:
        torch.set_num_threads(1)
    torch_dist.init_process_group(
        'nccl' if device == 'cuda' else 'gloo',
        init_method=f'file://{rendezvous}', rank=rank, world_size=count,
    )  # fmt: skip
    try:
        return _exchange(rank, count, device)
    finally:
        torch_dist.destroy_process_group()


def _exchange(rank: int, count: int, device: str) -> dict:
    out: dict = {'processes': count}
    gradients = torch.ones(25_000_000 if device == 'cuda' else 1000, device=device)

    def reduce() -> None:
        torch_dist.all_reduce(gradients, torch_dist.ReduceOp.AVG if device == 'cuda'
                              else torch_dist.ReduceOp.MAX)  # fmt: skip

    place = torch.device(device)
    out['all_reduce of ResNet-50, ms'] = 1e3 * train_step.seconds(reduce, 5, place)
    out['sums right'] = bool((gradients == 1).all())
    torch.manual_seed(0)
    images = torch.randn(8 * count, 16, 8, 4, dtype=torch.float64)
    mine = slice(8 * rank, 8 * rank + 8)
    if device == 'cuda':  # torch has SyncBN on GPUs alone
        norm = nn.SyncBatchNorm(16).to(place, torch.float64)
        x = images[mine].to(place).requires_grad_()
        y = norm(x)
        y.pow(3).sum().backward()
        plain, whole = nn.BatchNorm2d(16).double(), images.requires_grad_()
        z = plain(whole)
        z.pow(3).sum().backward()
        out['SyncBN output'] = off(y, z[mine])
        out['SyncBN gradient'] = off(x.grad, whole.grad[mine])
    x, _ = seeded_features(20_000 if device == 'cuda' else 200, 64, 'ambiguous')
    search = partial(knn_search, x, 30, 'torch', device=device, chunk_bytes=x.nbytes)
    shared = on_rank_zero(partial(search, all_ranks=True))
    if shared is not None:
        same = [np.array_equal(a, b) for a, b in zip(shared, search())]
        out['neighbours as of one process'] = all(same)
    return out


def processes(sizes: argparse.Namespace, device: str) -> dict:
    """One for each GPU, of which there may be one."""
    count = torch.cuda.device_count() if device == 'cuda' else 2
    with tempfile.TemporaryDirectory() as folder:
        return in_processes(exchange, count, f'{folder}/rendezvous', device)[0]


def losses_twice(
    rank: int, count: int, arguments: list[str], device: str, exact: bool
) -> dict:
    """Ten steps, twice with one seed; ``exact`` with deterministic algorithms."""
    if exact:
        os.environ['CUBLAS_WORKSPACE_CONFIG'] = ':4096:8'
    torch.use_deterministic_algorithms(exact, warn_only=True)
    torch.backends.cudnn.benchmark = not exact  # as in training
    runs = []
    start = time.perf_counter()
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter('always')
            for _ in range(2):
                args = train_step.parse_args(arguments)
                step = train_step.Step(args, torch.device(device))
                losses = torch.stack([step.step() for _ in range(10)])
                weights = [p.detach().flatten() for p in step.model.parameters()]
                memories = [head.memory.flatten() for head in step.model.memory_heads]
                runs.append(
                    dict(
                        losses=losses,
                        weights=torch.cat(weights),
                        memories=torch.cat(memories),
                    )
                )
    finally:
        torch.use_deterministic_algorithms(False)
    seconds = time.perf_counter() - start
    first, second = runs
    out: dict = {key: off(second[key], first[key]) for key in first}
    out['bit-equal'] = all(torch.equal(first[key], second[key]) for key in first)
    without = {
        name
        for warning in caught
        for name in re.findall(r'(\w+) does not have a determ', str(warning.message))
    }
    if exact:
        out['without a deterministic form'] = ', '.join(sorted(without)) or 'none'
    return {**out, 's': seconds}


def determinism(sizes: argparse.Namespace, device: str) -> Iterator[Measurement]:
    """The exact ones in processes of their own: cuBLAS reads its setting once."""
    for row, options in (
        ('float32', []),
        ('bfloat16, channels last', ['--amp', 'bfloat16', '--channels-last']),
    ):
        plain = [*sizes.step, *options], device
        work = partial(losses_twice, 0, 1, *plain, False)
        yield Measurement('determinism', row, 6, work)
        row += ', deterministic algorithms'
        exact = partial(in_processes, losses_twice, 1, *plain, True)
        yield Measurement('determinism', row, 20, lambda exact=exact: exact()[0])


# -- tests ---------------------------------------------------------------------------


def run_tests(device: str) -> dict:
    """Of the files that have tests with the mark ``gpu``."""
    if device != 'cuda':
        raise LeftOut('needs a GPU')
    found = [
        str(path)
        for path in sorted((ROOT / 'tests').rglob('test_*.py'))
        if 'mark.gpu' in path.read_text()
    ]
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / 'report.xml'
        command = [sys.executable, '-m', 'pytest', '-m', 'gpu', '-q', '--no-header']
        known = filter(None, [os.environ.get('PYTHONPATH')])
        done = subprocess.run(
            [*command, '-p', 'no:cacheprovider', f'--junit-xml={report}', *found],
            cwd=ROOT, capture_output=True, text=True,
            env={**os.environ, 'PYTHONPATH': os.pathsep.join([str(ROOT), *known])},
        )  # fmt: skip
        if not report.is_file():
            raise RuntimeError((done.stdout + done.stderr)[-600:])
        suite = ElementTree.parse(report).getroot().find('testsuite')
    bad = [
        case.get('name')
        for case in suite.iter('testcase')
        if case.find('failure') is not None or case.find('error') is not None
    ]
    skipped = int(suite.get('skipped'))
    return {
        'passed': int(suite.get('tests')) - len(bad) - skipped,
        'failed': len(bad),
        'skipped': skipped,
        'which failed': ', '.join(bad),
    }


# -- the suite -----------------------------------------------------------------------


def measurements(
    sizes: argparse.Namespace, device: str, folder: Path
) -> Iterator[Measurement]:
    """All, the cheapest and most important first."""
    yield from equality(sizes, device)
    yield from steps(sizes, device)
    yield from neighbours(sizes, device, large=False)
    yield from memory(sizes, device)
    yield from epoch_rows(sizes, folder)
    yield Measurement('tests', 'pytest -m gpu', 40, partial(run_tests, device))
    yield from clusterings(sizes, device)
    work = partial(processes, sizes, device)
    yield Measurement('processes', 'collectives, SyncBN', 20, work)
    yield from determinism(sizes, device)
    yield from compiled_steps(sizes, device)
    yield from neighbours(sizes, device, large=True)


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise ``TimeoutError`` in a block that takes longer."""

    def stop(*args) -> None:
        raise TimeoutError(f'stopped after {seconds:.0f} s')

    handler = signal.signal(signal.SIGALRM, stop)
    # again every second: what is raised in a destructor is only printed
    before = signal.setitimer(signal.ITIMER_REAL, max(seconds, 0.01), 1.0)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, *before)
        signal.signal(signal.SIGALRM, handler)


def describe(device: str) -> dict:
    """The machine and what is installed."""
    versions = dict(python=platform.python_version())
    for name in ('torch', 'numpy', 'mmengine', 'mmcv', 'mmpretrain', 'faiss', 'numba'):
        with suppress(ImportError):
            versions[name] = import_module(name).__version__
    out = dict(machine=machine(device), versions=versions)
    if device == 'cuda':
        smi = shutil.which('nvidia-smi')
        driver = '?'
        if smi:
            query = [smi, '--query-gpu=driver_version', '--format=csv,noheader']
            driver = subprocess.run(
                query, capture_output=True, text=True, timeout=30
            ).stdout.split('\n')[0]
        out |= dict(driver=driver, cuda=torch.version.cuda)
        out |= dict(
            cudnn=torch.backends.cudnn.version(), gpus=torch.cuda.device_count()
        )
    return out


def cell(value: object) -> str:
    """A value as a table shows it."""
    if isinstance(value, bool):
        return 'yes' if value else 'no'
    if not isinstance(value, float):
        return f'{value:,}' if isinstance(value, int) else str(value)
    if value == 0 or 1e-3 <= abs(value) < 1e5:
        return f'{value:.4g}' if abs(value) < 1000 else f'{value:,.0f}'
    return f'{value:.1e}'


def markdown(results: dict) -> str:
    """The results as tables."""
    about = results['about']
    facts = [about['machine']]
    if 'driver' in about:
        facts.append(f'{about["gpus"]} GPU(s), driver {about["driver"]}')
        facts.append(f'CUDA {about["cuda"]}, cuDNN {about["cudnn"]}')
    facts.append(', '.join(f'{k} {v}' for k, v in about['versions'].items()))
    lines = ['; '.join(facts) + '.']
    for part, title in PARTS.items():
        rows = results['rows'].get(part)
        if not rows:
            continue
        columns = list(dict.fromkeys(
            key for row in rows.values() for key in row.get('result', {})
        ))  # fmt: skip
        lines += ['', f'**{part}**. {title}.', '']
        lines.append('| ' + ' | '.join(['', *columns]) + ' |')
        lines.append('|---|' + '---:|' * len(columns))
        notes = []
        for name, row in rows.items():
            if 'result' in row:
                cells = [cell(row['result'].get(key, '')) for key in columns]
                lines.append('| ' + ' | '.join([name, *cells]) + ' |')
            else:
                why = row.get('left out') or row['error'].splitlines()[-1]
                state = 'left out' if 'left out' in row else 'failed'
                notes.append(f'- {name}: {state}: {why}')
        if not columns:
            del lines[-2:]
        if notes:
            lines += ['', *notes]
    return '\n'.join(lines)


class Suite:
    """Makes measurements and keeps their results in a file."""

    def __init__(self, out: Path, seconds: float, about: dict) -> None:
        self.out = out
        self.end = time.perf_counter() + seconds
        self.results: dict = dict(about=about, rows={})
        if out.is_file():
            self.results = json.loads(out.read_text())
            known = self.results['about']['machine']
            if about and known != about['machine']:
                raise SystemExit(
                    f'{out} holds results of another machine ({known}). Give another '
                    'file with --out.'
                )

    def record(self, item: Measurement, **outcome) -> None:
        """Write a row."""
        self.results['rows'].setdefault(item.part, {})[item.row] = outcome
        partial_file = self.out.with_suffix('.partial')
        partial_file.write_text(json.dumps(self.results, indent=1) + '\n')
        partial_file.replace(self.out)

    def make(self, item: Measurement) -> None:
        """Measure, unless the file has it or the time does not suffice."""
        if 'result' in self.results['rows'].get(item.part, {}).get(item.row, {}):
            return
        start = time.perf_counter()
        left = self.end - start
        say(f'{left:4.0f} s left | {item.part}: {item.row}')
        if left < item.seconds:
            why = f'{item.seconds:.0f} s expected, {max(left, 0):.0f} s were left'
            self.record(item, **{'left out': why})
            return
        # what ends the process, ends it here
        self.record(item, error='the process ended')
        try:
            with time_limit(min(left, 3 * item.seconds)):
                result = item.work()
        except LeftOut as reason:
            self.record(item, **{'left out': str(reason)})
        except Exception as error:
            text = f'{type(error).__name__}: {error}'[-800:]
            self.record(item, error=text)
            say(f'       failed: {text}')
        else:
            spent = time.perf_counter() - start
            self.record(item, result=result, seconds=round(spent, 2))
            shown = ', '.join(f'{key} {cell(value)}' for key, value in result.items())
            say(f'       {spent:.1f} s | {shown}')


def say(text: str) -> None:
    """A line of progress, at once."""
    print(text, file=sys.stderr, flush=True)


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        '--minutes',
        type=float,
        default=8,
        help='at most; 0: print only',
    )
    parser.add_argument('--out', type=Path, default='gpu_suite.json', help='results')
    parser.add_argument('--only', nargs='+', choices=PARTS, help='some parts alone')
    parser.add_argument(
        '--rows', type=int, nargs='+', help='sizes of the search for neighbours'
    )
    parser.add_argument(
        '--tiny', action='store_true', help='the smallest sizes, also without a GPU'
    )
    return parser.parse_args(argv)


def sizes_of(args: argparse.Namespace) -> argparse.Namespace:
    """What is measured: the real sizes, or those of a check of this file."""
    if args.tiny:
        sizes = argparse.Namespace(
            width=16, ranking=(20, 100, 16), rows=[300, 400], images=60, workers=0,
            clusters=4, batches=2, backend='eager',
            step=['--depth=18', '--size', '32', '16', '--identities=2',
                  '--instances=2', '--clusters=8', '--repeats=1'],
            epoch={
                'train_dataloader.sampler.num_identities': 2,
                'train_dataloader.sampler.num_instances': 2,
                'model.backbone.base_channels': 4,
                'model.backbone.stem_channels': 4,
                'model.neck.in_channels': 128,
                'model.head.in_channels': 128,
                'model.relation_neck.in_channels': 128,
                'model.relation_head.in_channels': 256,
            },
        )  # fmt: skip
    else:
        sizes = argparse.Namespace(
            width=2048, ranking=(500, 4000, 2048), images=4000,
            workers=loading_processes(),
            rows=[12_936, 32_621, 100_000, 1_000_000], clusters=100, batches=40,
            backend='inductor', step=['--repeats', '5'], epoch={},
        )  # fmt: skip
    sizes.rows = args.rows or sizes.rows
    return sizes


def main(argv: list[str] | None = None) -> None:
    """Measure what is missing, and print the tables."""
    args = parse_args(argv)
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    if args.minutes <= 0:
        if not args.out.is_file():
            raise SystemExit(f'{args.out} is not there: nothing was measured yet.')
        print(markdown(json.loads(args.out.read_text())))
        return
    if device == 'cpu' and not args.tiny:
        raise SystemExit('torch finds no GPU. --tiny checks this tool without one.')
    MMLogger.get_instance('mmengine', log_level='WARNING')
    seconds = 60 * args.minutes
    # for what no signal reaches, such as a collective that waits for ever
    faulthandler.dump_traceback_later(seconds + 15, exit=True, file=sys.__stderr__)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    suite = Suite(args.out, seconds, describe(device))
    try:
        with tempfile.TemporaryDirectory() as folder:
            images = Path(folder) / 'images'
            for item in measurements(sizes_of(args), device, images):
                if not args.only or item.part in args.only:
                    suite.make(item)
    finally:
        faulthandler.cancel_dump_traceback_later()
    print(markdown(suite.results))


if __name__ == '__main__':
    main()
