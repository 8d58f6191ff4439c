# SPDX-License-Identifier: Apache-2.0
"""Where the time of an epoch goes, in a real training.

``python tools/benchmarks/epoch.py CONFIG [--epochs 2 --batches 20 --bars FILE.svg]``
trains for some epochs and prints a Markdown table of the last one: loading, the model's
forward and backward pass, heads and GCL, the optimiser, the memories, embedding the
training set, refinement and clustering. Each part waits for the device, so that a GPU's
work counts where it was asked for; an epoch that is not measured is quicker there.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from functools import wraps
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.registry import RUNNERS
from mmengine.runner import Runner

from mmreid_gcl.apis import load_config
from mmreid_gcl.cli.command_line import add_config_options
from mmreid_gcl.engine import PseudoLabelHook
from mmreid_gcl.engine.hooks import pseudo_label_hook

#: Of an epoch, in the order of the table.
PARTS = (
    'embed the training set',
    'refine and cluster',
    'waiting for data',
    'preprocessing',
    'backbone, pooling: forward',
    'neck, GCL, losses: forward',
    'backward',
    'optimiser',
    'memory update',
    'checkpoint',
)


class Clock:
    """Seconds by part; parts inside another one do not count twice."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._open: list[float] = []
        self._solid = False

    def wrap(self, owner: object, name: str, part: str, solid: bool = False) -> None:
        """Measure the calls of a function from now on.

        Args:
            owner (object): What has the function: an object or a module.
            name (str): Its name.
            part (str): Where to count it.
            solid (bool): Count what it calls here too. Defaults to False.
        """
        setattr(owner, name, self.measured(getattr(owner, name), part, solid))

    def measured(self, function: Callable, part: str, solid: bool = False) -> Callable:
        """The function, with its time counted."""

        @wraps(function)
        def call(*args, **kwargs):
            if self._solid:
                return function(*args, **kwargs)
            self._solid = solid
            start = _now()
            self._open.append(0.0)
            try:
                return function(*args, **kwargs)
            finally:
                self._solid = False
                whole = _now() - start
                self.seconds[part] += whole - self._open.pop()
                if self._open:
                    self._open[-1] += whole

        return call


def _now() -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


class EpochTimes(Hook):
    """Count the parts of the last epoch, and time it as a whole."""

    priority = 'VERY_HIGH'

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.start = self.whole = 0.0

    def before_train(self, runner: Runner) -> None:
        """Everything is built: count from here on."""
        instrument(runner, self.clock)

    def before_train_epoch(self, runner: Runner) -> None:
        """An epoch begins."""
        self.clock.seconds.clear()
        self.start = _now()

    def after_run(self, runner: Runner) -> None:
        """It is over, with its checkpoint."""
        self.whole = _now() - self.start


def instrument(runner: Runner, clock: Clock) -> None:
    """Count the parts of a runner's epochs."""
    model = runner.model
    embed = 'embed the training set'
    clock.wrap(pseudo_label_hook, 'extract_features', embed, solid=True)
    hook = next(hook for hook in runner.hooks if isinstance(hook, PseudoLabelHook))
    clock.wrap(hook, 'make_labels', 'refine and cluster')  # what is left of it
    clock.wrap(model.data_preprocessor, 'forward', 'preprocessing')
    clock.wrap(model, '_maps', 'backbone, pooling: forward')
    clock.wrap(model.neck, 'pool', 'backbone, pooling: forward')
    clock.wrap(model, 'loss', 'neck, GCL, losses: forward')  # what is left of it
    clock.wrap(runner.optim_wrapper, 'backward', 'backward')
    clock.wrap(runner.optim_wrapper, 'step', 'optimiser')
    for head in model.memory_heads:
        clock.wrap(head, 'apply_update', 'memory update')
    clock.wrap(runner, 'save_checkpoint', 'checkpoint')
    loop = runner.train_loop
    batches = loop._batches
    loop._batches = lambda first: _Timed(batches(first), clock)


class _Timed:
    """An iterator whose next element is timed."""

    def __init__(self, batches, clock: Clock) -> None:
        self._batches = batches
        self._next = clock.measured(lambda: next(batches), 'waiting for data')

    def __iter__(self) -> _Timed:
        return self

    def __next__(self) -> object:
        return self._next()

    def __getattr__(self, name: str) -> object:
        return getattr(self._batches, name)


def bars(shares: dict[str, float], path: str) -> None:
    """A picture: one bar of the epoch, cut into its parts.

    Args:
        shares (dict[str, float]): Of the parts, together 1.
        path (str): Of the SVG or PNG file.
    """
    import matplotlib

    matplotlib.use('Agg')
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 0.32 * len(shares) + 0.8))
    names = list(shares)[::-1]
    drawn = axes.barh(names, [100 * shares[name] for name in names], color='#4477aa')
    axes.bar_label(drawn, fmt='%.1f', padding=3)
    axes.set_xlabel('% of an epoch')
    axes.spines[['top', 'right']].set_visible(False)
    figure.tight_layout()
    figure.savefig(path)


def measure(cfg: Config, epochs: int = 2, batches: int | None = None) -> dict:
    """Train, without validation; what the last epoch took.

    Args:
        cfg (Config): Of a training with pseudo-labels. Changed in place.
        epochs (int): Defaults to 2.
        batches (int, optional): Of an epoch. Defaults to the config's.

    Returns:
        dict: ``seconds`` of the epoch, ``parts`` (seconds by name), ``steps``,
        ``images`` of a step and ``embedded``: images of the training set.
    """
    cfg.train_cfg.max_epochs = epochs
    cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None
    if batches:
        cfg.train_dataloader.sampler.num_batches = batches
    runner = RUNNERS.build(cfg) if 'runner_type' in cfg else Runner.from_cfg(cfg)
    clock = Clock()
    times = EpochTimes(clock)
    runner.register_hook(times)
    runner.train()
    parts = {part: clock.seconds.pop(part, 0.0) for part in PARTS}
    assert not clock.seconds, clock.seconds
    parts['logging, hooks, the rest'] = times.whole - sum(parts.values())
    return dict(
        seconds=times.whole,
        parts=parts,
        steps=len(runner.train_dataloader),
        images=runner.train_dataloader.batch_size,
        embedded=len(runner.train_dataloader.dataset),
    )


def main() -> None:
    """Train, and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('config')
    parser.add_argument('--epochs', type=int, default=2, help='the last one counts')
    parser.add_argument('--batches', type=int, help="an epoch's; default: the config's")
    parser.add_argument('--bars', help='draw the table into this file')
    add_config_options(parser)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as work_dir:
        cfg = load_config(args.config, args.cfg_options, work_dir)
        found = measure(cfg, args.epochs, args.batches)
    whole, parts = found['seconds'], found['parts']
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else 'CPU'
    name = Path(args.config).stem
    print(
        f'\n{name}: {found["steps"]} batches of {found["images"]} images, '
        f'{found["embedded"]} images embedded; {device}\n\n'
        '| part | s | share |\n|---|---:|---:|'
    )
    for part, value in parts.items():
        print(f'| {part} | {value:.2f} | {value / whole:.1%} |')
    print(f'| epoch | {whole:.2f} | |')
    if args.bars:
        bars({part: value / whole for part, value in parts.items()}, args.bars)


if __name__ == '__main__':
    main()
