# SPDX-License-Identifier: Apache-2.0
"""Ranked retrieval: queries and what they found, right and wrong framed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from .sheet import FAINT, Sheet, box_of, check_image, thumbnail_width, wrap

#: Of a flag: colour and style of the frame, mark, words of the legend.
#: Mark and style say without colour what the colour says.
LOOKS: dict[bool | None, tuple[str, str | tuple, str, str]] = {
    True: ('#1a8f3c', 'solid', '✓', 'same person'),
    False: ('#d01c1c', (0, (4, 1.5)), '✗', 'another person'),
    None: ('#8a8a8a', 'dotted', '', 'not known'),
}
_QUERY = '#2b5c9e'
_GAP = 0.12
_MARGIN = 0.2
_CAPTION = 0.34


def ranking_sheet(
    queries: Sequence[np.ndarray],
    galleries: Sequence[Sequence[np.ndarray]],
    matches: Sequence[Sequence[bool | None]] | None = None,
    scores: Sequence[Sequence[float]] | None = None,
    query_cameras: Sequence[object] | None = None,
    gallery_cameras: Sequence[Sequence[object]] | None = None,
    query_titles: Sequence[str] | None = None,
    title: str | None = None,
    thumb_height: float = 1.3,
) -> Figure:
    """One row a query: the query image, then the gallery images it found.

    Args:
        queries (Sequence[np.ndarray]): Q images, (H, W, 3) uint8, red green
            blue. Sizes may differ.
        galleries (Sequence[Sequence[np.ndarray]]): For each query its ranked
            images, the best first. Rows may differ in length and be empty.
        matches (Sequence[Sequence[bool | None]], optional): For each of them
            whether it shows the person of the query: green solid frame and check,
            or red dashed frame and cross. None, for one or for all, is
            not known: grey dotted frame.
        scores (Sequence[Sequence[float]], optional): Their similarities.
        query_cameras (Sequence, optional): Camera of each query.
        gallery_cameras (Sequence[Sequence], optional): Camera of each gallery
            image.
        query_titles (Sequence[str], optional): A short line under each query,
            for example 'AP 71 %'.
        title (str, optional): Heading of the sheet.
        thumb_height (float): Height of a thumbnail in inches. Defaults to 1.3.

    Returns:
        Figure: Its axes hold the images row by row, the query first; frames of
        gallery images have the id ``frame-<row>-<rank from 1>``.

    Raises:
        TypeError: If an image is not uint8.
        ValueError: If there is no query, or the arguments differ in length.
    """
    if len(queries) == 0:
        raise ValueError('ranking_sheet: there is no query to show.')
    _check_length('galleries', galleries, len(queries))
    _check_length('query_cameras', query_cameras, len(queries))
    _check_length('query_titles', query_titles, len(queries))
    for name, rows in (
        ('matches', matches),
        ('scores', scores),
        ('gallery_cameras', gallery_cameras),
    ):
        _check_rows(name, rows, galleries)
    queries = [check_image(q, f'queries[{i}]') for i, q in enumerate(queries)]
    galleries = [
        [check_image(g, f'galleries[{i}][{j}]') for j, g in enumerate(row)]
        for i, row in enumerate(galleries)
    ]
    if matches is None:
        matches = [[None] * len(row) for row in galleries]

    # captions need some width whatever the images' proportions
    width = max(thumbnail_width(queries, thumb_height), 0.62)
    columns = max(map(len, galleries))
    query_gap = 0.25  # sets the query apart from its results
    left = _MARGIN + width + query_gap
    total_width = max(
        left + columns * (width + _GAP) - _GAP + _MARGIN, 2 * _MARGIN + 5.2
    )
    heading = wrap(title or '', total_width - 2 * _MARGIN, 12)
    top = _MARGIN + (0.2 * len(heading) + 0.2 if heading else 0) + 0.25
    row_height = thumb_height + _CAPTION + _GAP
    total_height = top + len(queries) * row_height + 0.45
    sheet = Sheet(total_width, total_height)

    for n, line in enumerate(heading):
        y = _MARGIN + 0.12 + 0.2 * n
        sheet.text(_MARGIN, y, line, 12, align='left', weight='bold')
    sheet.text(_MARGIN + width / 2, top - 0.14, 'query', 9, weight='bold')
    for j in range(columns):
        x = left + j * (width + _GAP) + width / 2
        sheet.text(x, top - 0.14, str(j + 1), 9, FAINT)
    for i, (query, row) in enumerate(zip(queries, galleries)):
        y = top + i * row_height
        shot = sheet.thumbnail(query, _MARGIN, y, width, thumb_height)
        sheet.frame(*box_of(shot), _QUERY, thickness=2, label=f'query-{i}')
        lines = [
            '' if query_cameras is None else f'cam {query_cameras[i]}',
            '' if query_titles is None else str(query_titles[i]),
        ]
        caption = '\n'.join(filter(None, lines))
        sheet.text(
            _MARGIN + width / 2, y + thumb_height + 0.05, caption, 7.5, vertical='top'
        )
        for j, image in enumerate(row):
            x = left + j * (width + _GAP)
            flag = None if matches[i][j] is None else bool(matches[i][j])
            color, style, mark, _ = LOOKS[flag]
            shot = sheet.thumbnail(image, x, y, width, thumb_height)
            sheet.frame(*box_of(shot), color, style, label=f'frame-{i}-{j + 1}')
            camera = '' if gallery_cameras is None else f'cam {gallery_cameras[i][j]}'
            first = ' '.join(filter(None, (mark, camera)))
            second = '' if scores is None else f'{scores[i][j]:.3f}'
            below = y + thumb_height + 0.05
            sheet.text(x + width / 2, below, first, 7.5, color, vertical='top')
            sheet.text(x + width / 2, below + 0.14, second, 7.5, FAINT, vertical='top')
    shown = {None if flag is None else bool(flag) for row in matches for flag in row}
    known = [flag for flag in LOOKS if flag in shown]
    x = _legend(sheet, known, total_height - 0.24)
    if scores is not None and x + 1.5 < total_width:
        words = 'number: similarity'
        sheet.text(x, total_height - 0.24, words, 9, FAINT, align='left')
    return sheet.figure


def _legend(sheet: Sheet, flags: list[bool | None], y: float) -> float:
    """Draw it; gives where it ends."""
    x = _MARGIN
    for flag in flags:
        color, style, mark, words = LOOKS[flag]
        sheet.frame(x, y - 0.09, 0.26, 0.18, color, style, 2.5, 'legend')
        text = ' '.join(filter(None, (mark, words)))
        sheet.text(x + 0.36, y, text, 9, color, align='left')
        x += 1.85
    return x


def _check_length(name: str, values: Sequence | None, expected: int) -> None:
    if values is not None and len(values) != expected:
        raise ValueError(
            f'ranking_sheet: {name} has {len(values)} entries for {expected} queries. '
            'Give one for each query.'
        )


def _check_rows(name: str, rows: Sequence | None, galleries: Sequence) -> None:
    _check_length(name, rows, len(galleries))
    for i, row in enumerate(rows or ()):
        if len(row) != len(galleries[i]):
            raise ValueError(
                f'ranking_sheet: {name}[{i}] has {len(row)} entries, but '
                f'galleries[{i}] has {len(galleries[i])} images. Give as many.'
            )
