# SPDX-License-Identifier: Apache-2.0
"""Similarities of pairs of one person and of different people, with a threshold."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from .canvas import FAINT, FONT, INK, chart, plain
from .palette import color_at

_BINS = 80


def similarity_distributions(
    similarity: np.ndarray,
    same: np.ndarray,
    across: np.ndarray,
    threshold: float | None = None,
    interval: Sequence[float] | None = None,
    title: str | None = None,
    note: str | None = None,
) -> Figure:
    """Densities of both kinds of pairs, across cameras above, within one below.

    Args:
        similarity (np.ndarray): (M,) cosines.
        same (np.ndarray): (M,) bool, of one person.
        across (np.ndarray): (M,) bool, from two cameras.
        threshold (float, optional): Drawn as a line.
        interval (Sequence[float], optional): Its lower and upper end, a band.
        title (str, optional): Heading.
        note (str, optional): Small lines below.

    Returns:
        Figure: One axes for each part that has pairs, on one scale of similarities. The
        area below each curve is 1, however many pairs there are.

    Raises:
        ValueError: If there is no pair, or lengths differ.
    """
    similarity, same, across = map(np.asarray, (similarity, same, across))
    if not len(similarity) or not len(similarity) == len(same) == len(across):
        raise ValueError(
            'similarity_distributions: expected as many similarities as marks of the '
            f'same person and of two cameras, at least one; got {len(similarity)}, '
            f'{len(same)} and {len(across)}.'
        )
    parts = [('across cameras', across), ('within one camera', ~across)]
    parts = [(name, rows) for name, rows in parts if rows.any()]
    keys = [
        Patch(facecolor=color_at(0), alpha=0.55, label='one person'),
        Patch(facecolor=color_at(1), alpha=0.55, label='different people'),
    ]
    if threshold is not None:
        label = f'threshold {threshold:.3f}'
        if interval is not None:
            label += f' ({interval[0]:.3f} to {interval[1]:.3f})'
        keys.append(Line2D([], [], color=INK, linewidth=1.5, label=label))
    figure = chart(6.4, 2.2 * len(parts) + 0.4, title, note, keys, columns=3)
    rows = figure.subplots(len(parts), 1, sharex=True, squeeze=False)[:, 0]
    ends = float(similarity.min()), float(similarity.max())
    edges = np.linspace(ends[0], max(ends[1], ends[0] + 1e-3), _BINS + 1)
    for axes, (name, chosen) in zip(rows, parts):
        for n, kind in enumerate((chosen & same, chosen & ~same)):
            if kind.any():
                density = np.histogram(similarity[kind], edges, density=True)[0]
                axes.stairs(density, edges, fill=True, alpha=0.55, color=color_at(n))
                axes.stairs(density, edges, color=color_at(n), linewidth=1.2)
        if interval is not None:
            axes.axvspan(*interval, color=FAINT, alpha=0.2, linewidth=0)
        if threshold is not None:
            axes.axvline(threshold, color=INK, linewidth=1.5)
        counts = int((chosen & same).sum()), int((chosen & ~same).sum())
        axes.set_title(
            f'{name}: {counts[0]:,} pairs of one person, {counts[1]:,} of different '
            'people',
            fontsize=9,
            family=FONT,
            color=FAINT,
            loc='left',
        )
        axes.set_ylabel('density', fontsize=9, family=FONT)
        plain(axes, 'x')
    rows[-1].set_xlabel('cosine similarity', fontsize=9.5, family=FONT)
    return figure
