# SPDX-License-Identifier: Apache-2.0
"""Curves over epochs: clusters, their quality, mAP, loss."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator

from .canvas import FONT, INK, chart, plain
from .palette import LINES, MARKERS, color_at

Series = Mapping[str, tuple[Sequence[float], Sequence[float]]]


@dataclass(frozen=True)
class Panel:
    """One axes of :func:`training_curves`."""

    title: str  #: Of the axes
    lines: tuple[tuple[str, str], ...]  #: (name in the scalars, name in the legend)
    #: Of y: the axis reaches at least so far; None is free
    limits: tuple[float | None, float | None] = (0, None)
    by_iter: bool = False  #: Steps are iterations, not epochs
    log: bool = False  #: Logarithmic y, without limits
    counts: bool = False  #: Values are whole numbers
    lead: int = 1  #: How many of the lines are shown when there are many runs

    def present(self, runs: Mapping[str, Series]) -> list[tuple[str, str]]:
        """Its lines that any run has."""
        return [line for line in self.lines if any(line[0] in s for s in runs.values())]


PANELS = (
    Panel('Retrieval, test set (%)',
          (('reid/mAP', 'mAP'), ('reid/R1', 'R1'), ('reid/mINP', 'mINP')), (0, 100)),
    Panel('Clusters', (('pseudo_labels/clusters', 'clusters'),
                       ('pseudo_labels/cross_camera_clusters',
                        'in two or more cameras')), counts=True),
    Panel('Outliers (images)', (('pseudo_labels/outliers', 'outliers'),), counts=True),
    Panel('Pseudo-labels against identities',
          (('pseudo_labels/ari', 'ARI'),
           ('pseudo_labels/unrefined_ari', 'ARI, unrefined'),
           ('pseudo_labels/nmi', 'NMI'),
           ('pseudo_labels/unrefined_nmi', 'NMI, unrefined')), (0, 1)),
    Panel('Pairs in one cluster against identities',
          (('pseudo_labels/precision', 'precision'),
           ('pseudo_labels/recall', 'recall'),
           ('pseudo_labels/unrefined_precision', 'precision, unrefined'),
           ('pseudo_labels/unrefined_recall', 'recall, unrefined')), (0, 1),
          lead=2),  # one without the other misleads
    Panel('The same within a camera and across cameras',
          (('pseudo_labels/recall_across', 'recall across'),
           ('pseudo_labels/precision_across', 'precision across'),
           ('pseudo_labels/recall_within', 'recall within'),
           ('pseudo_labels/precision_within', 'precision within')), (0, 1), lead=2),
    Panel('Signs that need no identities',
          (('pseudo_labels/stability', 'stability'),
           ('pseudo_labels/cross_camera_images', 'across cameras'),
           ('pseudo_labels/silhouette', 'silhouette'),
           ('pseudo_labels/label_free_score', 'label-free score')), (0, 1)),
    Panel('Tracks',
          (('pseudo_labels/whole_tracks', 'in one cluster'),
           ('pseudo_labels/conflicting_tracks', 'pairs seen together in one cluster')),
          (0, 1)),
    Panel('Loss', (('loss', 'total'), ('loss_scl', 'on x'),
                   ('relation_loss_scl', 'on GCL(x)')), by_iter=True),
    Panel('Learning rate (log scale)', (('lr', 'learning rate'),), by_iter=True,
          log=True),
)  # fmt: skip

#: Of more runs than that, every quantity would be a tangle.
_MANY = 4
_WIDTH, _HEIGHT = 5.2, 3.05  # of a panel, inches


def training_curves(
    runs: Mapping[str, Series],
    iters_per_epoch: Mapping[str, int | None] | None = None,
    title: str | None = None,
    panels: Sequence[Panel] = PANELS,
    columns: int = 2,
) -> Figure:
    """Curves of one run or several.

    With one run each quantity has a colour; with several a run has a colour
    and a quantity a line style and a marker; of more than four runs only the
    first quantities of each panel are shown. Panels without any data are left
    out; y axes begin at 0, or below where values do, but for the learning
    rate's.

    Args:
        runs (Mapping[str, Mapping]): Name of a run to its series: name to
            (steps, values), as :func:`~mmreid_gcl.visualization.read_scalars`
            gives them. Values that are not finite leave a gap.
        iters_per_epoch (Mapping[str, int | None], optional): Of each run:
            iterations are then shown as epochs. Without it (or where a run has
            None) that panel counts iterations.
        title (str, optional): Heading.
        panels (Sequence[Panel]): What to show. Defaults to :data:`PANELS`.
        columns (int): Axes beside each other. Defaults to 2.

    Returns:
        Figure: An axes for each panel that has data.

    Raises:
        ValueError: If there is no run, a run has nothing to show, or steps
            and values differ in length.
    """
    if not runs:
        raise ValueError('training_curves: there is no run to show.')
    for run, series in runs.items():
        _check(run, series, panels)
    if len(runs) > _MANY:
        panels = [replace(panel, lines=panel.lines[: panel.lead]) for panel in panels]
    shown = [panel for panel in panels if panel.present(runs)]
    lengths = dict(iters_per_epoch or {})
    if not all(lengths.get(run) for run in runs):
        lengths = {}
    columns = min(columns, len(shown))
    rows = -(-len(shown) // columns)
    keys = [
        Line2D([], [], color=color_at(n), linewidth=2.5, label=run)
        for n, run in enumerate(runs)
        if len(runs) > 1
    ]
    figure = chart(_WIDTH * columns, _HEIGHT * rows, title, keys=keys)
    for n, panel in enumerate(shown, 1):
        _draw(figure.add_subplot(rows, columns, n), panel, runs, lengths)
    return figure


def _check(run: str, series: Series, panels: Sequence[Panel]) -> None:
    known = [name for panel in panels for name, _ in panel.lines]
    if not any(name in series for name in known):
        raise ValueError(
            f'training_curves: run {run!r} has none of {", ".join(known)}; it has '
            f'{", ".join(series) or "no scalar at all"}.'
        )
    for name in set(known) & set(series):
        steps, values = series[name]
        if len(steps) != len(values):
            raise ValueError(
                f'training_curves: run {run!r}, {name}: {len(steps)} steps, but '
                f'{len(values)} values.'
            )


def _draw(axes, panel: Panel, runs: Mapping[str, Series], lengths: Mapping) -> None:
    several = len(runs) > 1
    present = panel.present(runs)
    for r, (run, series) in enumerate(runs.items()):
        for n, (name, words) in enumerate(present):
            if name not in series:
                continue
            steps, values = (np.asarray(v, dtype=np.float64) for v in series[name])
            if panel.by_iter and lengths:
                steps = steps / lengths[run]
            values = np.where(np.isfinite(values), values, np.nan)
            few = np.isfinite(values).sum() <= 30
            look = _look(n, color_at(r if several else n), few)
            axes.plot(
                steps, values, **look, label=f'{run}: {words}' if several else words
            )
    axes.set_title(panel.title, fontsize=10, family=FONT, loc='left', color=INK, pad=20)
    epochs = not panel.by_iter or bool(lengths)
    axes.set_xlabel('epoch' if epochs else 'iteration', fontsize=9, family=FONT)
    if epochs:
        ticks = MaxNLocator(integer=True, nbins=10, steps=[1, 2, 5, 10])
        axes.xaxis.set_major_locator(ticks)
        axes.set_xlim(left=0)
    plain(axes, 'both')
    drawn = np.concatenate([line.get_ydata() for line in axes.lines])
    drawn = drawn[np.isfinite(drawn)]
    if panel.log:
        _log_scale(axes, drawn)
    else:
        if panel.counts:
            axes.yaxis.set_major_locator(MaxNLocator(integer=True))
        _limit(axes, drawn, *panel.limits)
    said = all(words in panel.title.lower() for _, words in present)
    # of many runs one quantity may be left: the legend says which
    if len(present) > 1 or (len(runs) > _MANY and not said):
        # the colour of a run stands in the legend above all panels
        marked = any(line.get_marker() in MARKERS for line in axes.lines)
        keys = []
        for n, (_, words) in enumerate(present):
            look = _look(n, INK if several else color_at(n), marked)
            keys.append(Line2D([], [], **look, label=words))
        place = dict(loc='lower left', bbox_to_anchor=(-0.01, 1.0), ncols=len(present))
        apart = dict(columnspacing=1.2, handletextpad=0.5, borderaxespad=0.1)
        style = dict(fontsize=7.5, frameon=False, handlelength=2.4)
        axes.legend(handles=keys, **place, **apart, **style)


def _look(n: int, color: str, marked: bool) -> dict[str, Any]:
    """Of the n-th quantity of a panel."""
    style = LINES[n % len(LINES)]
    marker = MARKERS[n] if marked else None
    return dict(
        color=color, linestyle=style, marker=marker, markersize=4, linewidth=1.6
    )


def _log_scale(axes, values: np.ndarray) -> None:
    """Logarithmic y; matplotlib's own words would reach into the panel beside."""
    axes.set_yscale('log')
    levels = np.unique(values[values > 0].round(12))
    if 0 < len(levels) <= 4:  # a learning rate in steps: name the steps
        axes.set_yticks(levels, [_short(level) for level in levels])
        axes.yaxis.set_minor_locator(NullLocator())
        return
    axes.yaxis.set_major_formatter(FuncFormatter(_decade))
    axes.yaxis.set_minor_formatter(FuncFormatter(_decade))


def _short(value: float) -> str:
    """Such as 3.5e-4."""
    digits, exponent = f'{value:.2e}'.split('e')
    return f'{digits.rstrip("0").rstrip(".")}e{int(exponent)}'


def _decade(value: float, position: int) -> str:
    """1, 2 and 5 times a power of ten; the other ticks have no words."""
    words = _short(value)
    return words if words[:2] in ('1e', '2e', '5e') else ''


def _limit(axes, values: np.ndarray, low: float | None, high: float | None) -> None:
    if not len(values):
        return
    top = values.max() * 1.05 if high is None else max(high, values.max())
    bottom = min(low or 0, values.min())
    span = max(top - bottom, 0) or 1
    # lines and marks at a bound are not cut in half
    axes.set_ylim(bottom - 0.02 * span, bottom + 1.02 * span)
