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
from functools import partial

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
        compile=dict(backend=args.compile) if args.compile else False,
        compile_heads=(
            dict(backend=args.compile_heads) if args.compile_heads else False
        ),
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


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--depth', type=int, default=50, choices=[18, 50])
    parser.add_argument('--size', type=int, nargs=2, default=[256, 128])
    parser.add_argument('--identities', type=int, default=16)
    parser.add_argument('--instances', type=int, default=8)
    parser.add_argument('--clusters', type=int, default=700, help='rows of the memory')
    parser.add_argument('--amp', choices=['float16', 'bfloat16'])
    parser.add_argument('--tf32', action='store_true')
    parser.add_argument('--channels-last', action='store_true')
    backend = dict(nargs='?', const='inductor', metavar='BACKEND')
    parser.add_argument('--compile', help='backend of torch.compile', **backend)
    parser.add_argument('--compile-heads', **backend)
    parser.add_argument('--repeats', type=int, default=10)
    parser.add_argument('--count', action='store_true', help='operations, not time')
    return parser.parse_args(argv)


class Step:
    """A training step and its parts, on random images.

    Attributes:
        model (UnsupervisedReID): In training mode, on the device.
        count (int): Images of a batch.
    """

    def __init__(self, args: argparse.Namespace, device: torch.device) -> None:
        torch.manual_seed(0)
        self.device = device
        self.model = build(args, device)
        self.optimizer = torch.optim.Adam(
            self.model.parameters(), lr=3.5e-4, weight_decay=5e-4
        )
        self.dtype = getattr(torch, args.amp) if args.amp else None
        self.scaler = torch.amp.GradScaler(device.type, enabled=args.amp == 'float16')
        self.count = args.identities * args.instances
        self.images = torch.randn(self.count, 3, *args.size, device=device)
        labels = torch.randperm(args.clusters)[: args.identities]
        self.labels = labels.repeat_interleave(args.instances).to(device)
        self.samples = [DataSample().set_gt_label(label) for label in self.labels]
        width = self.model.neck.in_channels
        self.pooled = torch.randn(self.count, width, device=device)

    def autocast(self) -> torch.autocast:
        """As the training has it."""
        enabled = self.dtype is not None
        return torch.autocast(self.device.type, self.dtype, enabled=enabled)

    def step(self) -> torch.Tensor:
        """All of it; gives the loss."""
        self.optimizer.zero_grad()
        with self.autocast():
            loss = sum(self.model.loss(self.images, self.samples).values())
        self.scaler.scale(loss).backward()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.update()
        return loss.detach()

    def update(self) -> None:
        """Of the memories."""
        for head in self.model.memory_heads:
            head.apply_update()

    def backbone(self) -> None:
        """Backbone and pooling, forward and backward."""
        self.model.zero_grad()
        with self.autocast():
            pooled = self.model.neck.pool(self.model._maps(self.images))
        pooled.float().sum().backward()

    def heads(self) -> None:
        """Neck, GCL and losses, forward and backward."""
        model = self.model
        model.zero_grad()
        x = self.pooled.clone().requires_grad_()
        with self.autocast():
            x = model.neck(x)
            total = model.head.loss(x, self.labels)['loss_scl']
            relation = model.relation_head.loss(model.relation_neck(x), self.labels)
        (total + relation['loss_scl']).backward()
        for head in model.memory_heads:
            head.discard_update()

    def record(self) -> None:
        """As the loss does; one batch waits for its update."""
        for head in self.model.memory_heads:
            head.discard_update()
            x = torch.randn(self.count, head.in_channels, device=self.device)
            good = torch.tensor(True, device=self.device)
            head._recorded.append((x, self.labels, good))


def measure(args: argparse.Namespace, device: torch.device) -> dict[str, float]:
    """Seconds of the step, under 'step', and of its parts; TF32 as ``args`` say."""
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, cudnn.allow_tf32, cudnn.benchmark
    matmul.allow_tf32 = cudnn.allow_tf32 = args.tf32
    cudnn.benchmark = True
    try:
        step = Step(args, device)
        timed = partial(seconds, repeats=args.repeats, device=device)
        return {
            'step': timed(step.step),
            'optimiser': timed(step.optimizer.step),
            'backbone, pooling': timed(step.backbone),
            'neck, GCL, losses': timed(step.heads),
            'memory update': timed(step.update, prepare=step.record),
        }
    finally:
        matmul.allow_tf32, cudnn.allow_tf32, cudnn.benchmark = before


def main() -> None:
    """Measure and print."""
    args = parse_args()
    device = torch.device('cuda' if torch.cuda.is_available() else 'cpu')
    if args.count:
        step = Step(args, device)
        print('| part | operations |\n|---|---:|')
        print(f'| neck, GCL, losses, their backward | {operations(step.heads)} |')
        updating = operations(lambda: (step.record(), step.update()))
        print(f'| memory update | {updating - operations(step.record)} |')
        return

    parts = measure(args, device)
    whole = parts.pop('step')
    count = args.identities * args.instances
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
