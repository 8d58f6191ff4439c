# SPDX-License-Identifier: Apache-2.0
"""What there is to say of a run, in one HTML file."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from mmengine.config import Config

from mmreid_gcl.config.parts import find_pseudo_label_hook
from mmreid_gcl.visualization import read_scalars, training_curves
from mmreid_gcl.visualization.html_report import HtmlReport
from mmreid_gcl.visualization.scalars import Scalars

from .attention import attention_figure
from .clusters import cluster_figure
from .embedding import embedding_figure
from .ranking import ranking_figure
from .source import ModelSource

_METRICS = ('mAP', 'mINP', 'R1', 'R5', 'R10')
_LABELS = (
    'clusters',
    'outliers',
    'stability',
    'ari',
    'unrefined_ari',
    'nmi',
    'unrefined_nmi',
    'precision',
    'recall',
)
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
    """The config that a run keeps in its work dir, the newest of several.

    Args:
        work_dir (Path): Of a run.

    Returns:
        Path: The file.

    Raises:
        FileNotFoundError: If there is none.
    """
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
    """Write the report of a run.

    Args:
        work_dir (Path): Of the run.
        cfg (Config): Its config.
        source (Callable, optional): Gives model and data, for the sheets.
        without (str): Why there is no ``source``.

    Returns:
        tuple[str, list[str]]: The page, and what could not be shown and why,
        which the page says as well.

    Raises:
        FileNotFoundError: If the run has written no scalars.
    """
    scalars = read_scalars(work_dir)
    name = _name(work_dir)
    report = HtmlReport(f'Run {name}')
    _summary(report, work_dir, cfg, scalars)
    _results(report, work_dir, scalars)
    missing = []
    report.section('Curves')
    try:
        figure = training_curves(
            {name: scalars.series}, {name: scalars.iters_per_epoch}
        )
        report.figure(figure, 'The run over its epochs.')
    except ValueError as error:
        missing.append(f'Curves: {error}')
        report.paragraph(str(error), notice=True)
    _labels(report, scalars)
    missing += _sheets(report, source, without)
    report.section('Config')
    report.code(cfg.pretty_text, 'All settings')
    return report.render(), missing


def leak_of(cfg: Mapping) -> str | None:
    """A notice where the config builds graphs by file name; else None."""
    graphs = find_pseudo_label_hook(cfg).get('graphs') or {}
    if graphs.get('order') != 'filename':
        return None
    return (
        'The graphs of cluster refinement follow the file names '
        "(order='filename', as in the paper). Where a name begins with the "
        'identity, as in Market-1501, DukeMTMC-reID and MSMT17, this leaks '
        'labels into the clustering: these results are not unsupervised.'
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
    epochs = _last(scalars, 'pseudo_labels/clusters')
    wanted = (cfg.get('train_cfg', None) or {}).get('max_epochs')
    trained = f'{epochs[0]:.0f}' if epochs else 'unknown'
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
        report.table(
            ('start', *_METRICS),
            [(start, *(values.get(n) for n in _METRICS)) for start, values in tests],
            'Separate tests in this work dir (tools/test.py), in percent',
        )


def _tests(work_dir: Path) -> list[tuple[str, dict[str, float | None]]]:
    """Metrics that runs of the test have left, by their start."""
    found = []
    for path in sorted(work_dir.glob('*/*.json')):
        if path.stem != path.parent.name:
            continue
        try:
            values = json.loads(path.read_text())
        except ValueError:  # several lines: a log, not a test
            continue
        if isinstance(values, dict) and 'reid/mAP' in values:
            mine = {n: values.get(f'reid/{n}') for n in _METRICS}
            found.append((path.stem, mine))
    return found


def _labels(report: HtmlReport, scalars: Scalars) -> None:
    names = [n for n in _LABELS if f'pseudo_labels/{n}' in scalars.series]
    rows = _by_epoch(scalars, [f'pseudo_labels/{n}' for n in names])
    if not rows:
        return
    report.section('Pseudo-labels')
    whole = {n for n in names if n in ('clusters', 'outliers')}
    rows = [
        (
            row[0],
            *(
                int(v) if v is not None and n in whole else v
                for n, v in zip(names, row[1:])
            ),
        )
        for row in rows
    ]
    words = [
        n.replace('_', ' ').replace('ari', 'ARI').replace('nmi', 'NMI') for n in names
    ]
    report.paragraph(
        'Stability is the ARI with the epoch before. ARI, NMI, precision and recall '
        'compare with the identities, which only this report uses; unrefined is before '
        'GCL.'
    )
    ends = rows if len(rows) <= 6 else [rows[0], rows[-1]]
    report.table(('epoch', *words), ends, digits=3)
    if ends is not rows:
        report.table(('epoch', *words), rows, 'All epochs', folded=True, digits=3)


def _sheets(
    report: HtmlReport, source: Callable[[], ModelSource] | None, without: str
) -> list[str]:
    problem, model = without, None
    if source is not None:
        try:
            model = source()
        except (FileNotFoundError, ValueError, RuntimeError) as error:
            problem = str(error)
    if model is None:
        report.section('Sheets')
        report.paragraph(f'There are no sheets of images: {problem}', notice=True)
        return [f'Sheets: {problem}']
    missing = []
    for name, make, words in _SHEETS:
        report.section(name)
        try:
            report.figure(make(model), words, dpi=125)
        except (FileNotFoundError, ValueError, RuntimeError) as error:
            missing.append(f'{name}: {error}')
            report.paragraph(f'This cannot be shown: {error}', notice=True)
    return missing


def _by_epoch(scalars: Scalars, names: list[str]) -> list[tuple]:
    """(epoch, a value or None for each name), by epoch."""
    tables = [dict(zip(*map(np.ndarray.tolist, scalars.series[n]))) for n in names]
    steps = sorted({step for table in tables for step in table})
    return [(int(s), *(table.get(s) for table in tables)) for s in steps]


def _last(scalars: Scalars, name: str) -> tuple[float, float] | None:
    if name not in scalars.series:
        return None
    steps, values = scalars.series[name]
    return float(steps[-1]), float(values[-1])
