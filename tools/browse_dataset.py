# SPDX-License-Identifier: Apache-2.0
"""See what the training transforms make of the images.

``python tools/browse_dataset.py configs/gcl_folder.py --cfg-options data_root=crops``
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from mmengine.config import Config
from mmengine.registry import init_default_scope
from torch import Tensor

from mmreid_gcl.apis import load_config
from mmreid_gcl.apis.images import ImageError, read_image
from mmreid_gcl.cli.command_line import (
    add_config_options,
    add_json_option,
    exit_code,
    show_result,
    tool,
)
from mmreid_gcl.datasets import ReIDDataset, SampleIndex
from mmreid_gcl.datasets.image_folder import printable
from mmreid_gcl.datasets.seeding import derive_seed
from mmreid_gcl.registry import DATASETS
from mmreid_gcl.visualization import save_figure
from mmreid_gcl.visualization.canvas import camera_words
from mmreid_gcl.visualization.sheet import Cell, thumbnail_rows

HEIGHT = 1.4  # of a thumbnail, inches


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description='Save a sheet of training samples: each image as it is on disk, '
        'then as the transforms change it from draw to draw. Exit code 2: nothing was '
        'done; 3: done, but some images could not be read.'
    )
    parser.add_argument('config', help='config file or name')
    parser.add_argument('--out', default='browse.png', help='.png, .pdf or .svg')
    parser.add_argument(
        '--phase', default='train', choices=['train', 'val', 'test'], help='data loader'
    )
    parser.add_argument('--images', type=int, default=8, help='how many images')
    parser.add_argument('--draws', type=int, default=7, help='draws of each')
    parser.add_argument('--seed', type=int, default=0)
    add_json_option(parser)
    add_config_options(parser)
    args = parser.parse_args(argv)
    if args.images < 1 or args.draws < 1:
        parser.error('--images and --draws must be at least 1')
    return args


def build_dataset(cfg: Config, phase: str) -> ReIDDataset:
    """The data set of a loader of the config.

    Args:
        cfg (Config): The config.
        phase (str): 'train', 'val' or 'test'.

    Returns:
        ReIDDataset: With its pipeline.

    Raises:
        ValueError: If the config has none, or one that cannot be built.
    """
    loader = cfg.get(f'{phase}_dataloader')
    if loader is None:
        raise ValueError(f'the config has no {phase}_dataloader; try another --phase.')
    init_default_scope(cfg.get('default_scope', 'mmreid_gcl'))
    try:
        return DATASETS.build(loader.dataset)
    except (KeyError, TypeError) as error:  # of an unknown type or argument
        raise ValueError(f'{phase}_dataloader.dataset: {error}') from error


def draw_samples(
    dataset: ReIDDataset,
    images: int,
    draws: int,
    seed: int,
    failed: dict[str, str] | None = None,
) -> list[tuple[dict, list[np.ndarray]]]:
    """Images spread over the data set, and what the pipeline makes of them.

    Args:
        dataset (ReIDDataset): The data set.
        images (int): How many at most.
        draws (int): Versions of each.
        seed (int): Of the choice and of the transforms.
        failed (dict[str, str], optional): Gets the images that cannot be read, and
            why; they are left out. Without it, the first one is an error.

    Returns:
        list[tuple[dict, list[np.ndarray]]]: Samples, with the name of their
        ``camera``, and (H, W, 3) uint8 images, red green blue.

    Raises:
        ImageError: If an image cannot be read and ``failed`` is not given.
        RuntimeError: Likewise, if it cannot be transformed.
        ValueError: If the pipeline does not end with uint8 images.
    """
    rng = np.random.default_rng(seed)
    count = min(images, len(dataset))
    chosen = sorted(rng.choice(len(dataset), count, replace=False).tolist())
    found = []
    for i in chosen:
        try:
            read_image(dataset.get_data_info(i)['img_path'])
            versions = [
                _picture(
                    dataset.prepare_data(
                        SampleIndex(i, label=0, seed=derive_seed(seed, i, draw))
                    )
                )
                for draw in range(draws)
            ]
        # an image that cannot be read or transformed, or is no crop by its size
        except (RuntimeError, ImageError) as error:
            if failed is None:
                raise
            failed[dataset.get_data_info(i)['img_path']] = str(error)
            continue
        sample = dataset.get_data_info(i)
        sample['camera'] = camera_words(dataset.camera_name(sample['camid']))
        found.append((sample, versions))
    return found


def _picture(data: dict) -> np.ndarray:
    inputs = data.get('inputs') if isinstance(data, dict) else None
    if not isinstance(inputs, Tensor) or inputs.ndim != 3 or len(inputs) != 3:
        raise ValueError('the pipeline must end with PackInputs of one image.')
    values = inputs.float().round().clamp(0, 255).byte().numpy()
    return np.ascontiguousarray(values[::-1].transpose(1, 2, 0))


def sheet(samples: Sequence[tuple[dict, list[np.ndarray]]], title: str) -> Figure:
    """One row an image: first as on disk, then its draws."""
    rows, words = [], []
    for sample, versions in samples:
        image = read_image(sample['img_path'])[..., ::-1]
        rows.append([Cell(picture) for picture in (image, *versions)])
        before, after = (f'{i.shape[1]} x {i.shape[0]}' for i in (image, versions[0]))
        name = printable(Path(sample['img_path']).name)
        words.append(f'{name}, {sample["camera"]}, {before} to {after}')
    heads = ['on disk', *(f'draw {i}' for i in range(1, len(rows[0])))]
    return thumbnail_rows(rows, HEIGHT, title, heads=heads, words=words)


@tool
def main(argv: Sequence[str] | None = None) -> int:
    """Draw and save."""
    args = parse_args(argv)
    cfg = load_config(args.config, args.cfg_options)
    dataset = build_dataset(cfg, args.phase)
    failed: dict[str, str] = {}
    samples = draw_samples(dataset, args.images, args.draws, args.seed, failed)
    if not samples:
        raise ValueError(next(iter(failed.values())))
    title = f'{type(dataset).__name__}, {args.phase}: {len(samples)} of '
    title += f'{len(dataset):,} images'
    out = save_figure(sheet(samples, title), args.out)
    print(f'{out}: {title}, {args.draws} draws of each')
    shown = [sample['img_path'] for sample, _ in samples]
    show_result(
        args,
        dict(
            file=out, phase=args.phase, images=len(dataset), shown=shown, failed=failed
        ),
    )
    return exit_code(failed)


if __name__ == '__main__':
    sys.exit(main())
