# SPDX-License-Identifier: Apache-2.0
"""The scalars that a run has written, over all its resumptions."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from mmengine.logging import print_log


@dataclass
class Scalars:
    """Scalars of a run: ``series['reid/mAP']`` is ``(steps, values)``.

    Attributes:
        series (dict): Name to two float64 arrays of equal length, steps
            rising. Steps are epochs from 1 (``pseudo_labels/...``,
            ``reid/...``) or iterations (``loss``, ``lr``, ...).
        iters_per_epoch (int | None): Iterations in an epoch, where lines of the
            log tell.
        files (list[Path]): Where they come from, in order.
    """

    series: dict[str, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)
    iters_per_epoch: int | None = None
    files: list[Path] = field(default_factory=list)


def read_scalars(work_dir: str | Path) -> Scalars:
    """Read ``<time>/vis_data/scalars.json`` of a work dir.

    A resumed run has one folder for each start, named by its time. They are
    read in order; what a later one has computed again replaces the earlier.

    Args:
        work_dir (str | Path): Of a run; or one ``scalars.json``.

    Returns:
        Scalars: The series, merged.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If a line other than the last of a file is no JSON. A last
            line that was cut off, as in a run that was killed, is left out
            with a warning.
    """
    files = _files(Path(work_dir))
    by_epoch: dict[str, dict[float, float]] = {}
    by_iter: dict[str, dict[float, float]] = {}
    epoch_of: dict[float, int] = {}  # of an iteration
    for path in files:
        lines = list(_lines(path))
        _forget(by_epoch, _first_epoch(lines))
        _forget(by_iter, _first_iter(lines, epoch_of))
        for line in lines:
            step = line['step']
            if _is_training(line):
                epoch_of[step] = int(line['epoch'])
            table = by_iter if _is_training(line) else by_epoch
            for name, value in _numbers(line):
                table.setdefault(name, {})[step] = value
    series = {
        name: (
            np.array(sorted(values), dtype=np.float64),
            np.array([values[step] for step in sorted(values)], dtype=np.float64),
        )
        for name, values in (by_epoch | by_iter).items()
        if values
    }
    kept = {step for values in by_iter.values() for step in values}
    # an epoch's last line stands at or shortly before its end
    length = max((-int(-step // epoch_of[step]) for step in kept), default=None)
    return Scalars(series, length, files)


def _first_epoch(lines: list[dict]) -> float:
    """The first epoch that these lines train; a validation alone trains none."""
    clustered = [
        line['step']
        for line in lines
        if any(name.startswith('pseudo_labels/') for name in line)
    ]
    trained = [line['epoch'] for line in lines if _is_training(line)]
    return min(clustered + trained, default=np.inf)


def _first_iter(lines: list[dict], epoch_of: dict[float, int]) -> float:
    """The first iteration that these lines replace."""
    steps = [line['step'] for line in lines if _is_training(line)]
    if not steps:  # killed before it logged one
        begin = _first_epoch(lines)
        steps = [step for step, epoch in epoch_of.items() if epoch >= begin]
    return min(steps, default=np.inf)


def _forget(table: dict[str, dict[float, float]], begin: float) -> None:
    for values in table.values():
        for step in [step for step in values if step >= begin]:
            del values[step]


def _files(work_dir: Path) -> list[Path]:
    if work_dir.is_file():
        return [work_dir]
    files = sorted(
        work_dir.glob('*/vis_data/scalars.json'), key=lambda path: path.parts[-3]
    )
    if not files:
        raise FileNotFoundError(
            f'{work_dir}: there is no <time>/vis_data/scalars.json in it. Give the '
            'work dir of a run that has begun to train.'
        )
    return files


def _lines(path: Path) -> Iterator[dict]:
    texts = path.read_text(encoding='utf-8', errors='replace').splitlines()
    for number, text in enumerate(texts, 1):
        if not text.strip():
            continue
        try:
            line = json.loads(text)
            if not isinstance(line, dict):
                raise ValueError('not an object')
        except ValueError as error:
            if number < len(texts):
                raise ValueError(
                    f'{path}, line {number}: this is no JSON object ({error}). Remove '
                    'the line, or the file.'
                ) from error
            print_log(
                f'{path}: the last line, {number}, was cut off and is left out.',
                logger='current',
                level=logging.WARNING,
            )
            continue
        if isinstance(line.get('step'), (int, float)):
            yield line


def _is_training(line: dict) -> bool:
    return 'iter' in line and line.get('epoch', 0) > 0


def _numbers(line: dict) -> Iterator[tuple[str, float]]:
    for name, value in line.items():
        if name in ('step', 'epoch', 'iter') or isinstance(value, bool):
            continue
        if isinstance(value, (int, float)):
            # the time of a validation is not that of a training step
            plain = not _is_training(line) and '/' not in name
            yield f'val/{name}' if plain else name, float(value)
