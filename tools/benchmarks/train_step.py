# SPDX-License-Identifier: Apache-2.0
"""Where the time of a training step goes, on random images.

``python tools/benchmarks/train_step.py [--depth 50 --amp bfloat16 --channels-last]``
prints a Markdown table: forward and backward of backbone with pooling, of neck,
GCL and heads, the optimiser, and the update of the memories. ``--count`` prints how
many operations neck, GCL, heads and memories dispatch instead: on a GPU each is a
kernel or more, and launching them is what most of them cost.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from mmpretrain.structures import DataSample
from torch.utils._python_dispatch import TorchDispatchMode

from mmreid_gcl.models import UnsupervisedReID


def build(args: argparse.Namespace, device: torch.device) -> UnsupervisedReID:
    """The paper's model, with random weights and memories."""
    width = 2048 if args.depth >= 50 else 512
    model = UnsupervisedReID(
        backbone=dict(
            type='ResNet', depth=args.depth, strides=(1, 2, 2, 1), out_indices=(3,)
        ),
        neck=dict(type='EmbeddingNeck', in_channels=width),
        head=dict(type='SelectiveMemoryHead', in_channels=width),
        relation_neck=dict(type='GCLNeck', in_channels=width),
        relation_head=dict(
            type='SelectiveMemoryHead', in_channels=2 * width, loss_weight=0.5
        ),
        channels_last=args.channels_last,
        compile=args.compile,
        compile_heads=args.compile_heads,
    ).to(device)
    labels = torch.arange(args.clusters)
    for head in model.memory_heads:
        head.init_memory(torch.randn(args.clusters, head.in_channels), labels)
    return model.train()


def seconds(
    work: Callable[[], None],
    repeats: int,
    device: torch.device,
    prepare: Callable[[], None] | None = None,
) -> float:
    """The median time of ``work``, the device waited for; without ``prepare``."""

    def wait() -> None:
        if device.type == 'cuda':
            torch.cuda.synchronize()

    times = []
    for _ in range(repeats + 3):  # three to warm up
        if prepare is not None:
            prepare()
        wait()
        start = time.perf_counter()
        work()
        wait()
        times.append(time.perf_counter() - start)
    return statistics.median(times[3:])


class _Operations(TorchDispatchMode):
    """Counts what is dispatched, without views, which do nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None) -> object:
        self.count += not func.is_view and func.name() not in _FREE
        return func(*args, **(kwargs or {}))


#: Views by another name, and memory that is only reserved.
_FREE = {f'aten::{name}' for name in ('_unsafe_view', 'detach', 'empty', 'empty_like')}


def operations(work: Callable[[], None]) -> int:
    """How many operations ``work`` dispatches; the second time it is run."""
    work()
    with _Operations() as counted:
        work()
    return counted.count


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--depth', type=int, default=50, choices=[18, 50])
    parser.add_argument('--size', type=int, nargs=2, default=[256, 128])
    parser.add_argument('--identities', type=int, default=16)
    parser.add_argument('--instances', type=int, default=8)
    parser.add_argument('--clusters', type=int, default=700, help='rows of the memory')
    parser.add_argument('--amp', choices=['float16', 'bfloat16'])
    parser.add_argument('--tf32', action='store_true')
    parser.add_argument('--channels-last', action='store_true')
    parser.add_argument('--compile', action='store_true')
    parser.add_argument('--compile-heads', action='store_true')
    parser.add_argument('--repeats', type=int, default=10)
    parser.add_argument('--count', action='store_true', help='operations, not time')
    args = parser.parse_args()
    device = torch.device('cuda' if torch.cuda.is_available() else 'cpu')
    torch.manual_seed(0)
    torch.backends.cudnn.benchmark = True
    torch.backends.cuda.matmul.allow_tf32 = args.tf32
    torch.backends.cudnn.allow_tf32 = args.tf32

    model = build(args, device)
    optimizer = torch.optim.Adam(model.parameters(), lr=3.5e-4, weight_decay=5e-4)
    dtype = getattr(torch, args.amp) if args.amp else None
    scaler = torch.amp.GradScaler(device.type, enabled=args.amp == 'float16')
    count = args.identities * args.instances
    images = torch.randn(count, 3, *args.size, device=device)
    labels = torch.randperm(args.clusters)[: args.identities]
    labels = labels.repeat_interleave(args.instances).to(device)
    samples = [DataSample().set_gt_label(label) for label in labels]

    def loss() -> torch.Tensor:
        with torch.autocast(device.type, dtype, enabled=dtype is not None):
            return sum(model.loss(images, samples).values())

    def step() -> None:
        optimizer.zero_grad()
        scaler.scale(loss()).backward()
        scaler.step(optimizer)
        scaler.update()
        update()

    def update() -> None:
        for head in model.memory_heads:
            head.apply_update()

    def backbone() -> None:
        model.zero_grad()
        with torch.autocast(device.type, dtype, enabled=dtype is not None):
            pooled = model.neck.pool(model._maps(images))
        pooled.float().sum().backward()

    pooled = torch.randn(count, model.neck.in_channels, device=device)

    def heads() -> None:
        model.zero_grad()
        x = pooled.clone().requires_grad_()
        with torch.autocast(device.type, dtype, enabled=dtype is not None):
            x = model.neck(x)
            total = model.head.loss(x, labels)['loss_scl']
            relation = model.relation_head.loss(model.relation_neck(x), labels)
        (total + relation['loss_scl']).backward()
        for head in model.memory_heads:
            head.discard_update()

    def record() -> None:
        """As the loss does; one batch waits for its update."""
        for head in model.memory_heads:
            head.discard_update()
            x = torch.randn(count, head.in_channels, device=device)
            head._recorded.append((x, labels, torch.tensor(True, device=device)))

    if args.count:
        print('| part | operations |\n|---|---:|')
        print(f'| neck, GCL, losses, their backward | {operations(heads)} |')
        updating = operations(lambda: (record(), update())) - operations(record)
        print(f'| memory update | {updating} |')
        return

    whole = seconds(step, args.repeats, device)
    optimise = seconds(optimizer.step, args.repeats, device)
    parts = {
        'backbone, pooling': seconds(backbone, args.repeats, device),
        'neck, GCL, losses': seconds(heads, args.repeats, device),
        'memory update': seconds(update, args.repeats, device, record),
        'optimiser': optimise,
    }
    name = torch.cuda.get_device_name() if device.type == 'cuda' else 'CPU'
    settings = ', '.join(
        filter(
            None,
            [
                args.amp or ('TF32' if args.tf32 else 'float32'),
                args.channels_last and 'channels last',
                args.compile and 'compiled backbone and necks',
                args.compile_heads and 'compiled heads',
            ],
        )
    )
    print(f'ResNet-{args.depth}, {count} images of {args.size}, {settings}; {name}\n')
    print('| part | ms | share of the step |\n|---|---:|---:|')
    for title, value in parts.items():
        print(f'| {title} | {value * 1e3:.2f} | {value / whole:.1%} |')
    print(f'| step | {whole * 1e3:.2f} | {count / whole:.0f} images/s |')


if __name__ == '__main__':
    main()
