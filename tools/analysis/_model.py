# SPDX-License-Identifier: Apache-2.0
"""What the command lines that need a model have in common."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from mmreid_gcl.apis import load_config
from mmreid_gcl.apis.figures import ModelSource
from mmreid_gcl.cli.command_line import (
    add_config_options,
    add_json_option,
    checkpoint_argument,
    show_result,
)
from mmreid_gcl.visualization import save_figure
from mmreid_gcl.visualization.canvas import check_figure_path


def parser(doc: str, out: str) -> argparse.ArgumentParser:
    """Arguments for config, checkpoint, output and embedding.

    Args:
        doc (str): The script's docstring.
        out (str): Default of ``--out``.

    Returns:
        argparse.ArgumentParser: To be added to.
    """
    made = argparse.ArgumentParser(
        description=doc.splitlines()[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    made.add_argument('config', help='config file or name')
    made.add_argument(
        'checkpoint',
        type=checkpoint_argument,
        help="path of the checkpoint, a work dir for its last one, or 'untrained'",
    )
    made.add_argument(
        '--out', type=Path, default=Path(out), help='image to write (png, pdf, svg)'
    )
    made.add_argument('--dpi', type=int, default=150, help='pixels an inch')
    add_loading(made)
    add_json_option(made)
    made.add_argument('--seed', type=int, default=0, help='seed of what is drawn')
    return made


def add_loading(made: argparse.ArgumentParser) -> None:
    """How to find the data and embed them."""
    add_config_options(made)
    made.add_argument('--device', help="such as 'cpu' or 'cuda:1'; the GPU if any")
    made.add_argument('--batch-size', type=int, default=128, help='images at a time')
    made.add_argument('--num-workers', type=int, default=2, help='loading processes')


def source_of(
    args: argparse.Namespace,
    config: str | None = None,
    checkpoint: str | None = None,
) -> ModelSource:
    """The model and data of a command line.

    Args:
        args (argparse.Namespace): Of :func:`parser`.
        config (str, optional): Goes before ``args.config``.
        checkpoint (str, optional): Goes before ``args.checkpoint``.

    Returns:
        ModelSource: Model and data.
    """
    checkpoint = checkpoint or args.checkpoint
    return ModelSource(
        load_config(config or args.config, args.cfg_options),
        None if checkpoint == 'untrained' else checkpoint,
        device=args.device,
        batch_size=args.batch_size,
        num_workers=args.num_workers,
    )


def write(args: argparse.Namespace, make: Callable) -> int:
    """Make a figure and write it.

    Args:
        args (argparse.Namespace): Of :func:`parser`.
        make (Callable): Without arguments, gives the figure.

    Returns:
        int: 0.

    Raises:
        FileNotFoundError: If something that is asked for is missing.
        ValueError: If something is wrong.
    """
    check_figure_path(args.out)
    try:
        figure = make()
    except (KeyError, RuntimeError) as error:
        raise ValueError(str(error)) from error
    path = save_figure(figure, args.out, args.dpi)
    print(f'Written: {path}')
    show_result(args, dict(file=path))
    return 0
