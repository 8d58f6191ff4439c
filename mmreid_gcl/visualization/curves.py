# SPDX-License-Identifier: Apache-2.0
"""A training run over its epochs: clusters, their quality, mAP, loss."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator

from .canvas import FONT, new_figure
from .heading import draw_heading
from .palette import LINES, MARKERS, color_at
from .sheet import FAINT, INK, wrap

Series = Mapping[str, tuple[Sequence[float], Sequence[float]]]


@dataclass(frozen=True)
class Panel:
    """One axes of :func:`training_curves`.

    Attributes:
        title (str): Of the axes.
        lines (tuple): (name in the scalars, name in the legend).
        limits (tuple): Of y: the axis reaches at least so far; None is free.
        by_iter (bool): Steps are iterations, not epochs.
        log (bool): Logarithmic y, without limits.
        counts (bool): Values are whole numbers.
        lead (int): How many of the lines are shown when there are many runs.
    """

    title: str
    lines: tuple[tuple[str, str], ...]
    limits: tuple[float | None, float | None] = (0, None)
    by_iter: bool = False
    log: bool = False
    counts: bool = False
    lead: int = 1


PANELS = (
    Panel(
        'Retrieval, test set (%)',
        (('reid/mAP', 'mAP'), ('reid/R1', 'R1'), ('reid/mINP', 'mINP')),
        (0, 100),
    ),
    Panel('Clusters', (('pseudo_labels/clusters', 'clusters'),), counts=True),
    Panel('Outliers (images)', (('pseudo_labels/outliers', 'outliers'),), counts=True),
    Panel(
        'Pseudo-labels against identities',
        (
            ('pseudo_labels/ari', 'ARI'),
            ('pseudo_labels/unrefined_ari', 'ARI, unrefined'),
            ('pseudo_labels/nmi', 'NMI'),
            ('pseudo_labels/unrefined_nmi', 'NMI, unrefined'),
        ),
        (0, 1),
    ),
    Panel(
        'Pairs in one cluster against identities',
        (
            ('pseudo_labels/precision', 'precision'),
            ('pseudo_labels/recall', 'recall'),
            ('pseudo_labels/unrefined_precision', 'precision, unrefined'),
            ('pseudo_labels/unrefined_recall', 'recall, unrefined'),
        ),
        (0, 1),
        lead=2,  # one without the other misleads
    ),
    Panel(
        'Stability: ARI with the epoch before',
        (('pseudo_labels/stability', 'stability'),),
        (0, 1),
    ),
    Panel(
        'Loss',
        (
            ('loss', 'total'),
            ('loss_scl', 'on x'),
            ('relation_loss_scl', 'on GCL(x)'),
        ),
        by_iter=True,
    ),
    Panel(
        'Learning rate (log scale)',
        (('lr', 'learning rate'),),
        by_iter=True,
        log=True,
    ),
)


#: Of more runs than that, every quantity would be a tangle.
_MANY = 4


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
    shown = [
        panel
        for panel in panels
        if any(name in series for series in runs.values() for name, _ in panel.lines)
    ]
    lengths = dict(iters_per_epoch or {})
    as_epochs = all(lengths.get(run) for run in runs)

    columns = min(columns, len(shown))
    rows = -(-len(shown) // columns)
    legend_lines = len(runs) if len(runs) > 1 else 0
    width = 5.2 * columns + 0.1
    heading = wrap(title or '', width - 0.4, 12)
    top = 0.15 + 0.24 * len(heading) + 0.21 * legend_lines
    height = top + 3.05 * rows
    figure = new_figure(width, height)
    draw_heading(figure, heading, top=0.22)
    for n, panel in enumerate(shown):
        row, column = divmod(n, columns)
        axes = figure.add_axes(
            (
                (5.2 * column + 0.75) / width,
                1 - (top + 3.05 * row + 2.5) / height,
                4.35 / width,
                1.95 / height,
            )
        )
        _draw(axes, panel, runs, lengths if as_epochs else {})
    if legend_lines:
        _run_legend(figure, list(runs), 0.2 / width, 1 - (top - 0.1) / height)
    return figure


def _check(run: str, series: Series, panels: Sequence[Panel]) -> None:
    known = [name for panel in panels for name, _ in panel.lines]
    if not any(name in series for name in known):
        raise ValueError(
            f'training_curves: run {run!r} has none of {", ".join(known)}; it has '
            f'{", ".join(series) or "no scalar at all"}.'
        )
    for name in known:
        if name in series:
            steps, values = series[name]
            if len(steps) != len(values):
                raise ValueError(
                    f'training_curves: run {run!r}, {name}: {len(steps)} steps, but '
                    f'{len(values)} values.'
                )


def _draw(axes, panel: Panel, runs: Mapping[str, Series], lengths: Mapping) -> None:
    several = len(runs) > 1
    present = [line for line in panel.lines if any(line[0] in s for s in runs.values())]
    for r, (run, series) in enumerate(runs.items()):
        for n, (name, words) in enumerate(present):
            if name not in series:
                continue
            steps, values = (np.asarray(v, dtype=np.float64) for v in series[name])
            if panel.by_iter and lengths:
                steps = steps / lengths[run]
            few = np.isfinite(values).sum() <= 30
            axes.plot(
                steps,
                np.where(np.isfinite(values), values, np.nan),
                LINES[n % len(LINES)],
                color=color_at(r if several else n),
                marker=MARKERS[n] if few else None,
                markersize=4,
                linewidth=1.6,
                label=f'{run}: {words}' if several else words,
            )
    axes.set_title(
        panel.title,
        fontsize=10,
        family=FONT,
        loc='left',
        color=INK,
        pad=20,
    )
    epochs = not panel.by_iter or bool(lengths)
    axes.set_xlabel('epoch' if epochs else 'iteration', fontsize=9, family=FONT)
    if epochs:
        axes.xaxis.set_major_locator(
            MaxNLocator(integer=True, nbins=10, steps=[1, 2, 5, 10])
        )
        axes.set_xlim(left=0)
    axes.tick_params(which='both', labelsize=8.5)
    axes.grid(color='#e4e4e4', linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[['top', 'right']].set_visible(False)
    if panel.log:
        _log_scale(axes)
    elif panel.counts:
        axes.yaxis.set_major_locator(MaxNLocator(integer=True))
        _limit(axes, panel.limits)
    else:
        _limit(axes, panel.limits)
    # of many runs one quantity may be left: the legend says which
    if len(present) > 1 or (len(runs) > _MANY and not _said(panel, present)):
        # the colour of a run stands in the legend above all panels
        marked = any(line.get_marker() in MARKERS for line in axes.lines)
        handles = [
            Line2D(
                [],
                [],
                color=INK if several else color_at(n),
                linestyle=LINES[n % len(LINES)],
                marker=MARKERS[n] if marked else None,
                markersize=4,
                linewidth=1.6,
                label=words,
            )
            for n, (_, words) in enumerate(present)
        ]
        axes.legend(
            handles=handles,
            fontsize=7.5,
            frameon=False,
            loc='lower left',
            bbox_to_anchor=(-0.01, 1.0),
            ncols=len(handles),
            columnspacing=1.2,
            handlelength=2.4,
            handletextpad=0.5,
            borderaxespad=0.1,
        )


def _log_scale(axes) -> None:
    """Logarithmic y; matplotlib's own words would reach into the panel beside."""
    axes.set_yscale('log')
    drawn = np.concatenate([line.get_ydata() for line in axes.lines])
    levels = np.unique(drawn[np.isfinite(drawn) & (drawn > 0)].round(12))
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


def _said(panel: Panel, present: list) -> bool:
    """Whether the title says what the only line is."""
    words = panel.title.lower()
    return all(name in words for _, name in present)


def _decade(value: float, position: int) -> str:
    """1, 2 and 5 times a power of ten; the other ticks have no words."""
    digit, exponent = f'{value:.0e}'.split('e')
    return f'{digit}e{int(exponent)}' if digit in '125' else ''


def _limit(axes, limits: tuple[float | None, float | None]) -> None:
    drawn = [line.get_ydata() for line in axes.lines]
    values = np.concatenate(drawn)
    values = values[np.isfinite(values)]
    if not len(values):
        return
    low, high = limits
    top = values.max() * 1.05 if high is None else max(high, values.max())
    bottom = min(low or 0, values.min())
    if top <= bottom:
        top = bottom + 1
    span = top - bottom
    # lines and marks at a bound are not cut in half
    axes.set_ylim(bottom - 0.02 * span, top + 0.02 * span)


def _run_legend(figure: Figure, names: list[str], x: float, bottom: float) -> None:
    handles = [
        Line2D([], [], color=color_at(n), linewidth=2.5, label=name)
        for n, name in enumerate(names)
    ]
    legend = figure.legend(
        handles=handles,
        loc='lower left',
        bbox_to_anchor=(x, bottom),
        fontsize=9,
        frameon=False,
        borderaxespad=0,
        borderpad=0,
    )
    for text in legend.get_texts():
        text.set(color=FAINT, parse_math=False)
