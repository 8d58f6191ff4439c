# SPDX-License-Identifier: Apache-2.0
"""Parsing of times into integers that grow with time."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone

from .reid_dataset import UNKNOWN

_INTEGER = re.compile('[0-9]{1,19}')
_LARGEST = 2**63 - 1  # of int64; nanoseconds since 1970 reach the year 2262
_DECIMAL = re.compile(r'[0-9]{1,15}(?:\.[0-9]*)?')
_TIMESTAMP = re.compile(
    r'(\d{4})-?(\d\d)-?(\d\d)'
    r'(?:[T _-]?(\d\d)[:.-]?(\d\d)(?:[:.-]?(\d\d)(?:[.,]?(\d{1,9}))?)?)?'
    r'\s?(Z|[+-]\d\d:?\d\d)?',
    re.ASCII,
)
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


def parse_times(values: Sequence[str], places: Sequence[str]) -> list[int]:
    """Integers, seconds or timestamps as integers; UNKNOWN for ''.

    - All integers below 2**63 (frame numbers, Unix times down to nanoseconds,
      20240301120500): as they are.
    - Numbers, not all of them integers: seconds, returned in milliseconds.
    - Anything else: ISO 8601 timestamps ('2024-03-01T12:05:00.250+01:00') or
      the same with '_', '-' or nothing between the parts, returned as
      milliseconds since 1970. Without a time zone, UTC is meant.

    Other values, or a time zone of some timestamps only, are a ValueError that names
    their ``places``.
    """
    given = [value for value in values if value]
    if all(is_integer(value) for value in given):
        return [int(value) if value else UNKNOWN for value in values]
    if all(_DECIMAL.fullmatch(value) for value in given):
        return [round(float(value) * 1000) if value else UNKNOWN for value in values]
    parsed: list[int] = []
    zones: dict[bool, tuple[str, str]] = {}
    for value, place in zip(values, places):
        if not value:
            parsed.append(UNKNOWN)
            continue
        milliseconds, has_zone = _parse_timestamp(value, place)
        parsed.append(milliseconds)
        zones.setdefault(has_zone, (value, place))
    if len(zones) == 2:
        (with_zone, first), (without, second) = zones[True], zones[False]
        raise ValueError(
            f'{first}: the time {with_zone!r} has a time zone, but {without!r} '
            f'({second}) has none; give all or none a time zone.'
        )
    return parsed


def are_timestamps(values: Sequence[str]) -> bool:
    """Whether :func:`parse_times` makes milliseconds since 1970 of all but ''."""
    given = [value for value in values if value]
    numbers = any(is_integer(value) or _DECIMAL.fullmatch(value) for value in given)
    return bool(given) and not numbers


def is_integer(value: str) -> bool:
    """Whether a text is an integer that int64 holds, not negative."""
    return bool(_INTEGER.fullmatch(value)) and int(value) <= _LARGEST


def _parse_timestamp(value: str, place: str) -> tuple[int, bool]:
    message = (
        f'{place}: cannot read the time {value!r}; expected an integer below '
        '2**63 (nanoseconds since 1970 fit), seconds, or '
        "a timestamp such as '2024-03-01T12:05:00', and the same kind everywhere."
    )
    match = _TIMESTAMP.fullmatch(value)
    if match is None:
        raise ValueError(message)
    *parts, fraction, zone = match.groups()
    try:
        year, month, day, hour, minute, second = (int(part or 0) for part in parts)
        moment = datetime(year, month, day, hour, minute, second, tzinfo=timezone.utc)
    except ValueError as error:
        raise ValueError(f'{message[:-1]} ({error}).') from error
    if zone and zone != 'Z':
        digits = zone[1:].replace(':', '')
        offset = timedelta(hours=int(digits[:2]), minutes=int(digits[2:]))
        moment += offset if zone[0] == '-' else -offset
    milliseconds = int(fraction.ljust(3, '0')[:3]) if fraction else 0
    return (moment - _EPOCH) // timedelta(milliseconds=1) + milliseconds, bool(zone)
