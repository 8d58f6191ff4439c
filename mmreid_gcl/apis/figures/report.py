# SPDX-License-Identifier: Apache-2.0
"""The HTML report of a run: curves, rankings, clusters, settings."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from mmengine.config import Config

from mmreid_gcl.config_parts import find_pseudo_label_hook
from mmreid_gcl.visualization import read_scalars, training_curves
from mmreid_gcl.visualization.html_report import HtmlReport
from mmreid_gcl.visualization.scalars import Scalars

from .attention import attention_figure
from .clusters import cluster_figure
from .embedding import embedding_figure
from .ranking import ranking_figure
from .source import ModelSource

_METRICS = ('mAP', 'mINP', 'R1', 'R5', 'R10')
_TITLES = (
    *('clusters', 'outliers', 'cross-camera clusters', 'cross-camera images'),
    *('stability', 'silhouette', 'label-free score', 'ARI', 'unrefined ARI', 'NMI'),
    *('unrefined NMI', 'precision', 'recall'),
)
_LABELS = {re.sub('[ -]', '_', title.lower()): title for title in _TITLES}
_COUNTS = ('clusters', 'outliers', 'cross_camera_clusters')
_SHEETS: tuple[tuple[str, Callable, str], ...] = (
    (
        'Retrieval',
        ranking_figure,
        'Queries of the test set, drawn at random, and the gallery images found.',
    ),
    (
        'Embedding',
        embedding_figure,
        'Some people of the test set: colours are identities, shapes are cameras.',
    ),
    (
        'Clusters',
        cluster_figure,
        'Pseudo-labels of the last epoch of the checkpoint. Identities served this '
        'sheet alone, not the training.',
    ),
    (
        'Attention',
        attention_figure,
        'Attention within one graph of the training set; the dashed line on the '
        'scale is what uniform attention has.',
    ),
)


def find_config(work_dir: Path) -> Path:
    """The config that a run keeps in its work dir, the newest of several."""
    files = sorted(work_dir.glob('*.py'), key=lambda path: path.stat().st_mtime)
    if not files:
        raise FileNotFoundError(
            f'{work_dir}: there is no config (*.py) in this work dir. Give it with '
            '--config.'
        )
    return files[-1]


def run_report(
    work_dir: Path,
    cfg: Config,
    source: Callable[[], ModelSource] | None = None,
    without: str = '',
) -> tuple[str, list[str]]:
    """The page that reports on a run, and what it could not show and why.

    ``source`` gives model and data, for the sheets of images; ``without`` says why
    there is none. A run without scalars is a ``FileNotFoundError``.
    """
    scalars = read_scalars(work_dir)
    name = _name(work_dir)
    report = HtmlReport(f'Run {name}')
    missing: list[str] = []

    def show(section: str, make: Callable[[], Figure], words: str) -> None:
        report.section(section)
        try:
            report.figure(make(), words, dpi=125)
        except (FileNotFoundError, ValueError, RuntimeError) as error:
            missing.append(f'{section}: {error}')
            report.paragraph(f'This cannot be shown: {error}', notice=True)

    _summary(report, work_dir, cfg, scalars)
    _results(report, work_dir, scalars)
    curves = partial(
        training_curves, {name: scalars.series}, {name: scalars.iters_per_epoch}
    )
    show('Curves', curves, 'The run over its epochs.')
    _labels(report, cfg, scalars)
    model = None
    if source is not None:
        try:
            model = source()
        except (FileNotFoundError, ValueError, RuntimeError) as error:
            without = str(error)
    if model is None:
        missing.append(f'Sheets: {without}')
        report.section('Sheets')
        report.paragraph(f'There are no sheets of images: {without}', notice=True)
    else:
        for section, make, words in _SHEETS:
            show(section, partial(make, model), words)
    report.section('Config')
    report.code(cfg.pretty_text, 'All settings')
    return report.render(), missing


def leak_of(cfg: Config) -> str | None:
    """A notice where the config builds graphs by file name; else None."""
    graphs = find_pseudo_label_hook(cfg).get('graphs') or {}
    if graphs.get('order') != 'filename':
        return None
    return (
        "The graphs of cluster refinement follow the file names (order='filename', as "
        'in the paper). Where a name begins with the identity, as in Market-1501, '
        'DukeMTMC-reID and MSMT17, this leaks labels into the clustering: these '
        'results are not unsupervised.'
    )


def _name(work_dir: Path) -> str:
    """'seed1' of tools/experiments.py says nothing without the folder above."""
    folder = work_dir.resolve()
    one_of_many = folder.name.removeprefix('seed').isdigit()
    return f'{folder.parent.name}/{folder.name}' if one_of_many else folder.name


def _summary(report: HtmlReport, work_dir: Path, cfg: Config, scalars: Scalars) -> None:
    notice = leak_of(cfg)
    if notice:
        report.paragraph(notice, notice=True)
    epochs, wanted = _last(scalars, 'pseudo_labels/clusters'), _max_epochs(cfg)
    # LabelFreeBestHook clusters once more after the last epoch
    trained = f'{min(epochs[0], wanted or np.inf):.0f}' if epochs else 'unknown'
    rows = [
        ('Config', Path(cfg.filename).name if cfg.filename else 'unknown'),
        ('Work dir', str(work_dir)),
        ('Starts', ', '.join(path.parts[-3] for path in scalars.files)),
        ('Epochs', f'{trained} begun of {wanted}' if wanted else trained),
        ('Seed', str((cfg.get('randomness', None) or {}).get('seed'))),
    ]
    loss = _last(scalars, 'loss')
    if loss:
        rows.append(('Last loss', f'{loss[1]:.4g} (iteration {loss[0]:.0f})'))
    report.section('Summary')
    report.table((), rows)


def _results(report: HtmlReport, work_dir: Path, scalars: Scalars) -> None:
    report.section('Results')
    names = [n for n in _METRICS if f'reid/{n}' in scalars.series]
    rows = _by_epoch(scalars, [f'reid/{n}' for n in names])
    if rows:
        report.paragraph(
            'Percent, on the test set. The last line is the result: picking the best '
            'epoch would use the labels of the test set.'
        )
        report.table(('epoch', *names), rows, 'Evaluation while training')
    else:
        report.paragraph('The run has not been evaluated while training.')
    tests = _tests(work_dir)
    if tests:
        words = 'Separate tests in this work dir (tools/test.py), in percent'
        report.table(('start', *_METRICS), tests, words)


def _tests(work_dir: Path) -> list[list]:
    """Start and metrics of the runs of the test."""
    found = []
    for path in sorted(work_dir.glob('*/*.json')):
        if path.stem != path.parent.name:
            continue
        try:
            values = json.loads(path.read_text())
        except ValueError:  # several lines: a log, not a test
            continue
        if isinstance(values, dict) and 'reid/mAP' in values:
            found.append([path.stem, *(values.get(f'reid/{n}') for n in _METRICS)])
    return found


def _max_epochs(cfg: Config) -> int | None:
    return (cfg.get('train_cfg', None) or {}).get('max_epochs')


def _labels(report: HtmlReport, cfg: Config, scalars: Scalars) -> None:
    names = [n for n in _LABELS if f'pseudo_labels/{n}' in scalars.series]
    rows = _by_epoch(scalars, [f'pseudo_labels/{n}' for n in names])
    if not rows:
        return
    report.section('Pseudo-labels')
    wanted = _max_epochs(cfg)
    text = (
        'Stability is the ARI with the epoch before. Cross-camera images are the share '
        'of all images whose cluster has several cameras. ARI, NMI, precision and '
        'recall compare with the identities, which only this report uses; unrefined is '
        'before GCL.'
    )
    if wanted and rows[-1][0] > wanted:
        text += f' Line {rows[-1][0]} is of the weights after the last epoch.'
    report.paragraph(text)
    header = ['epoch', *(_LABELS[n] for n in names)]
    ends = rows if len(rows) <= 6 else [rows[0], rows[-1]]
    report.table(header, ends, digits=3)
    if ends is not rows:
        report.table(header, rows, 'All epochs', folded=True, digits=3)


def _by_epoch(scalars: Scalars, names: list[str]) -> list[list]:
    """[epoch, a value or None for each name], by epoch; counts are whole numbers."""
    tables = []
    for name in names:
        steps, values = scalars.series[name]
        counts = name.removeprefix('pseudo_labels/') in _COUNTS
        tables.append(
            dict(zip(steps, values.astype(int if counts else float).tolist()))
        )
    epochs = sorted({step for table in tables for step in table})
    return [[int(e), *(table.get(e) for table in tables)] for e in epochs]


def _last(scalars: Scalars, name: str) -> tuple[float, float] | None:
    steps, values = scalars.series.get(name, ((), ()))
    return (float(steps[-1]), float(values[-1])) if len(steps) else None
