# SPDX-License-Identifier: Apache-2.0
"""Ranking sheets: queries and their nearest gallery images, right or wrong."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from .canvas import FAINT, INK, camera_words, check_length
from .sheet import LOOKS, Cell, Look, check_image, thumbnail_rows

_QUERY = Look('#2b5c9e', thickness=2.0)
_LEGEND = {True: 'same person', False: 'another person', None: 'not known'}


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
    nobody: str = '',
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
        query_cameras (Sequence, optional): Camera of each query, its name or number.
        gallery_cameras (Sequence[Sequence], optional): Camera of each gallery
            image.
        query_titles (Sequence[str], optional): A short line under each query,
            for example 'AP 71 %'.
        title (str, optional): Heading of the sheet.
        thumb_height (float): Height of a thumbnail in inches. Defaults to 1.3.
        nobody (str): What stands beside a query that found nobody. Defaults to ''.

    Returns:
        Figure: Its axes hold the images row by row, the query first; frames of
        gallery images have the id ``frame-<row>-<rank from 1>``.

    Raises:
        TypeError: If an image is not uint8.
        ValueError: If there is no query, or the arguments differ in length.
    """
    if len(queries) == 0:
        raise ValueError('ranking_sheet: there is no query to show.')
    given = dict(galleries=galleries, matches=matches, scores=scores)
    given |= dict(gallery_cameras=gallery_cameras)
    single = dict(query_cameras=query_cameras, query_titles=query_titles)
    for name, values in (given | single).items():
        check_length(f'ranking_sheet: {name}', values, len(queries), 'queries')
    for name, rows_of in given.items():
        for i, (row_of, gallery) in enumerate(zip(rows_of or (), galleries)):
            where = f'ranking_sheet: {name}[{i}]'
            check_length(where, row_of, len(gallery), f'images of galleries[{i}]')
    queries = [check_image(q, f'queries[{i}]') for i, q in enumerate(queries)]
    rows: list[list[Cell]] = []
    for i, (query, gallery) in enumerate(zip(queries, galleries)):
        lines = [] if query_cameras is None else [camera_words(query_cameras[i])]
        lines += [] if query_titles is None else [str(query_titles[i])]
        caption = ('\n'.join(lines), INK)
        row = [Cell(query, [caption], _QUERY, f'query-{i}')]
        for j, image in enumerate(gallery):
            flag = None if matches is None else matches[i][j]
            look = LOOKS[None if flag is None else bool(flag)]
            cameras = None if gallery_cameras is None else gallery_cameras[i]
            camera = '' if cameras is None else camera_words(cameras[j])
            captions = [(f'{look.mark} {camera}'.strip(), look.color)]
            if scores is not None:
                captions.append((f'{scores[i][j]:.3f}', FAINT))
            image = check_image(image, f'galleries[{i}][{j}]')
            row.append(Cell(image, captions, look, f'frame-{i}-{j + 1}'))
        rows.append(row)
    shown = {cell.look for row in rows for cell in row}
    if matches is None:
        shown = set()  # nobody is known: no need to say so of each
    legend: list = [(LOOKS[f], w) for f, w in _LEGEND.items() if LOOKS[f] in shown]
    legend += [(None, 'number: similarity')] if scores is not None else []
    ranks = [str(n) for n in range(1, 1 + max(map(len, galleries)))]
    heads = ['query', *ranks]
    return thumbnail_rows(
        rows, thumb_height, title, heads=heads, legend=legend, apart=0.13, alone=nobody
    )
