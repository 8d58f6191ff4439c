# SPDX-License-Identifier: Apache-2.0
"""Results of runs: read from a work dir, kept as JSON, averaged over seeds."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path

from mmreid_gcl.files import write_atomically
from mmreid_gcl.visualization.scalars import read_scalars

RESULT_FILE = 'result.json'
_CURVES = ('reid/mAP', 'reid/R1', 'pseudo_labels/ari', 'pseudo_labels/unrefined_ari',
           'pseudo_labels/clusters', 'pseudo_labels/outliers')  # fmt: skip


@dataclass
class Result:
    """One finished run."""

    name: str  #: Of the experiment
    fingerprint: str  #: Of its settings
    seed: int  #: Of the run
    epochs: int  #: Trained
    metrics: dict[str, float]  #: ``mAP``, ``R1``, ... in percent, of the last epoch
    #: ``ari``, ``clusters``, ``outliers``, ... of the last clustering
    pseudo_labels: dict[str, float] = field(default_factory=dict)
    #: Name to ``[epochs, values]``
    curves: dict[str, list] = field(default_factory=dict)
    graphs: str = ''  #: How the graphs are built, in words
    options: dict = field(default_factory=dict)  #: Overrides of the config
    data_root: str = ''  #: As it was given; '' is the config's own
    device: str = ''  #: What it ran on
    seconds: float = 0.0  #: From start to end, of all its starts together


def read_run(work_dir: Path, epochs: int) -> tuple[dict, dict, dict]:
    """Metrics, clustering and curves of a run that has trained all its ``epochs``.

    The metrics are those after the last epoch, and empty if there are none, as in a run
    killed before its last validation. Values that are not finite are left out of
    metrics and clustering. A run that never began is a FileNotFoundError.
    """
    last: dict[str, dict] = {'reid': {}, 'pseudo_labels': {}}
    curves = {}
    for name, (steps, values) in read_scalars(work_dir).series.items():
        if name in _CURVES:
            curves[name] = [steps.astype(int).tolist(), values.round(4).tolist()]
        kind, _, key = name.partition('/')
        if kind in last and steps[-1] == epochs and math.isfinite(values[-1]):
            last[kind][key] = float(values[-1])
    return last['reid'], last['pseudo_labels'], curves


def epochs_begun(work_dir: Path) -> int:
    """How many epochs a run has clustered so far; 0 if it has not begun."""
    try:
        series = read_scalars(work_dir).series
    except (FileNotFoundError, ValueError):
        return 0
    steps, _ = series.get('pseudo_labels/clusters', ([0], [0]))
    return int(steps[-1])


def write_json(path: Path, value) -> None:
    """Write a JSON file in one stroke: it is whole, or not there."""
    write_atomically(path, (json.dumps(value, indent=1) + '\n').encode())


def write_results(path: Path, results: Iterable[Result]) -> None:
    """Keep results in one JSON file, sorted by name, fingerprint and seed."""
    rows = sorted(results, key=lambda r: (r.name, r.fingerprint, r.seed))
    write_json(path, dict(results=[asdict(row) for row in rows]))


def read_results(path: Path) -> list[Result]:
    """Read what :func:`write_results`, or a finished run, has written.

    No such file is a FileNotFoundError, one that holds something else a ValueError.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f'{path}: there is no such file. tools/experiments.py collect --out FILE '
            'writes one.'
        )
    try:
        content = json.loads(path.read_text(encoding='utf-8'))
        rows = content.get('results', [content])
        return [Result(**row) for row in rows]
    except (AttributeError, TypeError, ValueError) as error:
        raise ValueError(
            f'{path}: these are no results of tools/experiments.py ({error}).'
        ) from error


def gather_results(work_dir: Path) -> list[Result]:
    """The results in ``<experiment>/seed<n>/result.json`` of a folder, by path."""
    paths = sorted(work_dir.glob(f'*/seed*/{RESULT_FILE}'))
    return [result for path in paths for result in read_results(path)]


def merge(results: Iterable[Result]) -> list[Result]:
    """One result for each fingerprint, folder of data and seed, the last one given.

    Folders of one name are one.
    """
    return list(
        {(r.fingerprint, Path(r.data_root).name, r.seed): r for r in results}.values()
    )


def paired(
    results: Iterable[Result], others: Iterable[Result], metric: str
) -> list[float]:
    """Differences of a metric between runs of the same data and seed.

    Args:
        results (Iterable[Result]): Of one row of a table.
        others (Iterable[Result]): Of the row it is compared with.
        metric (str): Such as 'mAP'.

    Returns:
        list[float]: A number for each run that both have.
    """
    found = {
        (Path(r.data_root).name, r.seed): r.metrics[metric]
        for r in others
        if metric in r.metrics
    }
    keys = [((Path(r.data_root).name, r.seed), r.metrics) for r in results]
    return [m[metric] - found[key] for key, m in keys if metric in m and key in found]
