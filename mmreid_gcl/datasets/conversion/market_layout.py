# SPDX-License-Identifier: Apache-2.0
"""Any benchmark in the layout and naming of Market-1501."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from tqdm import tqdm

from ..benchmark import BenchmarkDataset
from ..market1501 import Market1501
from ..reid_dataset import UNKNOWN
from .output import Output

MODES = ('copy', 'hardlink', 'symlink')


def convert_to_market(
    dataset: type[BenchmarkDataset],
    source: str | Path,
    out: str | Path,
    mode: str = 'copy',
    overwrite: bool = False,
    progress: bool = True,
    **options,
) -> dict[str, int]:
    """Write a benchmark as other projects expect one: Market-1501's layout.

    In ``0002_c1s3031_000451_00.jpg``, 0002 is the identity, c1 the camera, s3031 the
    sequence, 000451 the frame (0 where they are unknown), and the last number tells
    images of one person, camera and frame apart. If an identity 0 is a person (in
    MSMT17 it is), 1 is added to all, since 0 is a distractor in that layout.
    ``conversion.json`` says so.

    ``dataset`` is the class that reads ``source``, its ``data_root``, and ``options``
    are its further arguments. ``out`` is a folder to fill, see :class:`Output`;
    ``mode`` is 'copy', 'hardlink' (same disk) or 'symlink'; ``overwrite`` replaces a
    conversion that is there. Returns the number of images of each part.
    """
    if mode not in MODES:
        raise ValueError(f'mode must be one of {MODES}, got {mode!r}.')
    parts = {}
    for part in Market1501.PARTS:
        found = dataset(data_root=str(source), split=part, **options)
        samples = [found.get_data_info(i) for i in range(len(found))]
        # by name: the order for training would read every image
        parts[part] = sorted(samples, key=lambda sample: sample['img_path'])
    train = {sample['pid'] for sample in parts['train']}
    query = {sample['pid'] for sample in parts['query']}
    offset = int(0 in train or 0 in query)
    output = Output(out, overwrite)
    for part, samples in parts.items():
        taken: Counter[tuple] = Counter()
        bar = tqdm(
            samples, desc=part, unit=' images', disable=not progress, mininterval=1
        )
        for sample in bar:
            pid, camera = sample['pid'] + offset, sample['camid'] + 1
            # not the position in the source as a frame: names begin with identities
            sequence, frame = (
                0 if sample[name] == UNKNOWN else sample[name]
                for name in ('sequence', 'frame')
            )
            key = pid, camera, sequence, frame
            path = Path(sample['img_path'])
            name = (
                f'{pid:04d}_c{camera}s{sequence}_{frame:06d}_{taken[key]:02d}'
                f'{path.suffix.lower()}'
            )
            taken[key] += 1
            output.place(f'{Market1501.PARTS[part]}/{name}', path, mode)
    counts = {part: len(samples) for part, samples in parts.items()}
    output.finish(
        converter='to_market_layout',
        source=dataset.TITLE,
        mode=mode,
        added_to_identities=offset,
        images=counts,
    )
    return counts
