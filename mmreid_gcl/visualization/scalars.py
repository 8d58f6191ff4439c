# SPDX-License-Identifier: Apache-2.0
"""The scalars of a run, merged over all its starts."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from mmengine.logging import print_log

from mmreid_gcl.work_dir import starts

_LABELS = 'pseudo_labels/'


@dataclass
class Scalars:
    """Scalars of a run: ``series['reid/mAP']`` is ``(steps, values)``.

    Steps rise; they are epochs from 1 (``pseudo_labels/...``, ``reid/...``) or
    iterations (``loss``, ``lr``, ...).
    """

    #: Name to two float64 arrays of equal length
    series: dict[str, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)
    iters_per_epoch: int | None = None  #: Where lines of the log tell
    #: Where they come from, in order
    files: list[Path] = field(default_factory=list)


def read_scalars(work_dir: str | Path) -> Scalars:
    """Read ``<time>/vis_data/scalars.json`` of a work dir.

    A resumed run has one folder for each start. They are read in the order of
    ``starts.txt``, and without it of what was trained: the folders are named by
    the local time, and clocks are set back. What a later start has computed again
    replaces the earlier; an epoch that was resumed inside keeps its pseudo-labels.

    ``work_dir`` may be one ``scalars.json`` too. A last line that was cut off, as in a
    run that was killed, is left out with a warning; another line that
    is no JSON is a ValueError, and no file at all a FileNotFoundError.
    """
    begun = _in_order(Path(work_dir))
    by_epoch: dict[str, dict[float, float]] = {}
    by_iter: dict[str, dict[float, float]] = {}
    epoch_of: dict[float, int] = {}  # of an iteration
    for start in begun:
        for name, values in by_epoch.items():
            labels = name.startswith(_LABELS)
            _forget(values, start.clusters_from if labels else start.trains_from)
        first = min(start.steps, default=np.inf)
        if not start.steps:  # killed before it logged one
            repeated = (s for s, e in epoch_of.items() if e >= start.trains_from)
            first = min(repeated, default=np.inf)
        for values in by_iter.values():
            _forget(values, first)
        for line in start.lines:
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
    return Scalars(series, length, [start.path for start in begun])


def read_expected(path: str | Path) -> tuple[str, dict[str, tuple]]:
    """A record of what a run should look like, to draw beside it.

    Args:
        path (str | Path): A JSON file with ``name``, and ``series``: a name of
            :class:`Scalars` to ``[steps, values]``. docs/data/expected has some.

    Returns:
        tuple[str, dict]: The name, and (steps, values) by name.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no such record.
    """
    try:
        record = json.loads(Path(path).read_text(encoding='utf-8'))
        series = {
            name: tuple(np.array(part, np.float64) for part in pair)
            for name, pair in record['series'].items()
        }
        if not series or any(len(s) != 2 or s[0].shape != s[1].shape
                             or s[0].ndim != 1 for s in series.values()):  # fmt: skip
            raise ValueError('steps and values differ in length')
        return str(record['name']), series
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f'{path}: expected a JSON file with "name" and "series": {{"reid/mAP": '
            f'[[steps], [values]], ...}} ({error}).'
        ) from error


class _Start:
    """What one start of a run has written."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = path.parts[-3] if len(path.parts) > 2 else ''
        self.lines = list(_lines(path))
        trained = [line for line in self.lines if _is_training(line)]
        self.steps = [line['step'] for line in trained]  # iterations
        clustered = {
            line['step']
            for line in self.lines
            if any(name.startswith(_LABELS) for name in line)
        }
        epochs = [line['epoch'] for line in trained] + list(clustered)
        self.trains_from = min(epochs, default=np.inf)  # infinite: a validation alone
        # one that begins inside an epoch goes on with the labels it has
        self.clusters_from = self.trains_from + (self.trains_from not in clustered)
        self.last_epoch = max(epochs, default=0)

    def needs(self, gap: float) -> tuple[float, float]:
        """Epoch and iteration that were reached before, by a line every ``gap``."""
        if self.trains_from == np.inf:
            return 0, 0
        return self.clusters_from - 1, min(self.steps, default=0) - gap


def _forget(values: dict[float, float], begin: float) -> None:
    for step in [step for step in values if step >= begin]:
        del values[step]


def _in_order(work_dir: Path) -> list[_Start]:
    """One after another, as they were begun."""
    found = [_Start(path) for path in _files(work_dir)]
    listed = {name: i for i, name in enumerate(starts(work_dir))}
    known = [start for start in found if start.name in listed]
    rest = [start for start in found if start.name not in listed]
    gaps = [gap for start in found for gap in np.diff(start.steps).tolist()]
    ordered: list[_Start] = []
    epoch, step = 0.0, 0.0  # how far training has come
    while rest:
        # by name, but none before one that it can go on from
        needs = {start: start.needs(max(gaps, default=np.inf)) for start in rest}
        fitting = [s for s in rest if needs[s][0] <= epoch and needs[s][1] <= step]
        chosen = fitting[0] if fitting else min(rest, key=needs.__getitem__)
        rest.remove(chosen)
        ordered.append(chosen)
        epoch = chosen.last_epoch or epoch
        step = max(chosen.steps, default=step)
    return ordered + sorted(known, key=lambda start: listed[start.name])


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
