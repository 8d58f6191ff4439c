# SPDX-License-Identifier: Apache-2.0
"""A table of images: CSV, or Parquet if pandas is installed."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable
from pathlib import Path

from .image_folder import log

#: Columns that are read; only 'path' is required.
COLUMNS = ('path', 'split', 'camera', 'sequence', 'frame', 'time', 'track', 'pid')
#: Other spellings of them.
ALIASES = {'camid': 'camera'}


def read_annotation(path: str | Path) -> list[tuple[str, dict[str, str]]]:
    """The rows of a CSV (comma, semicolon or tab; UTF-8) or Parquet file.

    For each its place ('file, line 7') and its values under the names of
    :data:`COLUMNS`, '' where empty. Any fault of the table is a ValueError that names
    the place.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f'{path}: no such annotation file; expected a CSV or Parquet file with '
            f'the columns {", ".join(COLUMNS)} (all but path optional).'
        )
    ending = path.suffix.lower()
    if ending == '.parquet':
        rows = _read_parquet(path)
    elif ending in ('.csv', '.tsv', '.txt'):
        rows = _read_csv(path)
    else:
        raise ValueError(
            f'{path}: expected a file ending in .csv, .tsv, .txt or .parquet.'
        )
    rows = list(rows)
    if not rows:
        raise ValueError(f'{path}: this file has no rows; expected an image a row.')
    for place, row in rows:
        if not row['path']:
            raise ValueError(f"{place}: the value of 'path' is empty.")
    return rows


def _read_csv(path: Path) -> Iterable[tuple[str, dict[str, str]]]:
    try:
        text = path.read_text(encoding='utf-8-sig')
    except UnicodeDecodeError as error:
        raise ValueError(
            f'{path}: cannot read this file as UTF-8 ({error}); save it as UTF-8.'
        ) from error
    first = text.split('\n', 1)[0]
    reader = csv.reader(
        io.StringIO(text, newline=''),
        delimiter=max(',;\t', key=first.count),
        strict=True,
    )
    try:
        names = _check_columns(path, next(reader, []))
        for values in reader:
            place = f'{path}, line {reader.line_num}'
            if not values:
                continue
            if len(values) != len(names):
                raise ValueError(
                    f'{place}: expected {len(names)} values ({", ".join(names)}), '
                    f'found {len(values)}: {values}.'
                )
            row = {name: value.strip() for name, value in zip(names, values)}
            yield place, {name: row[name] for name in COLUMNS if name in row}
    except csv.Error as error:
        raise ValueError(
            f'{path}, line {reader.line_num}: broken CSV ({error}).'
        ) from error


def _read_parquet(path: Path) -> Iterable[tuple[str, dict[str, str]]]:
    try:
        import pandas
    except ImportError as error:
        raise ImportError(
            f'{path}: reading Parquet needs pandas and pyarrow: pip install pandas '
            'pyarrow. Or save the table as CSV.'
        ) from error
    table = pandas.read_parquet(path)
    names = _check_columns(path, [str(name) for name in table.columns])
    used = [(i, name) for i, name in enumerate(names) if name in COLUMNS]
    for number, values in enumerate(table.itertuples(index=False, name=None), 1):
        yield f'{path}, row {number}', {name: _text(values[i]) for i, name in used}


def _check_columns(path: Path, given: list[str]) -> list[str]:
    names = [name.strip() for name in given]
    names = [ALIASES.get(name, name) for name in names]
    if 'path' not in names:
        raise ValueError(
            f"{path}: there is no column 'path'; found {names}, expected "
            f'{", ".join(COLUMNS)} (all but path optional).'
        )
    for name in COLUMNS:
        if names.count(name) > 1:
            raise ValueError(f'{path}: the column {name!r} stands there twice.')
    unused = [name for name in names if name not in COLUMNS]
    if unused:
        log(f'{path}: columns not used: {", ".join(unused)}')
    return names


def _text(value: object) -> str:
    """A Parquet value as CSV would have it."""
    if value is None or value != value:  # missing: None, NaN, NaT
        return ''
    if isinstance(value, float) and math.isfinite(value) and value.is_integer():
        return str(int(value))  # pandas turns integers with gaps into floats
    isoformat = getattr(value, 'isoformat', None)
    return isoformat() if isoformat else str(value).strip()
