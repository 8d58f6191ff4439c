# SPDX-License-Identifier: Apache-2.0
from datetime import datetime, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmreid_gcl.datasets.times import parse_times


def parse(*values):
    return parse_times(values, [f'row {i}' for i in range(len(values))])


def test_integers_stay():
    assert parse('7', '0012', '', '20240301120500') == [7, 12, -1, 20240301120500]


def test_seconds_become_milliseconds():
    assert parse('1.5', '', '2', '0.0004', '3.') == [1500, -1, 2000, 0, 3000]


@pytest.mark.parametrize(
    'text',
    [
        '1970-01-02T03:04:05',
        '1970-01-02 03:04:05',
        '1970-01-02 03:04:05.000',
        '19700102_030405',
        '19700102-030405',
        '19700102T030405Z',
        '1970-01-02_03-04-05',
        '1970-01-02T03:04:05+00:00',
        '1970-01-02T05:34:05+02:30',
        '1970-01-02T02:04:05-0100',
    ],
)
def test_timestamps(text):
    # 1 day, 3 hours, 4 minutes and 5 seconds after the beginning of 1970
    assert parse(text) == [1000 * (86400 + 3 * 3600 + 4 * 60 + 5)]


def test_parts_of_a_second():
    assert parse('1970-01-01T00:00:00.5', '1970-01-01T00:00:01,123456') == [500, 1123]


def test_a_date_alone():
    assert parse('1970-01-02') == [86_400_000]


@given(
    st.lists(
        st.datetimes(datetime(1971, 1, 1), datetime(2200, 1, 1)), min_size=1, max_size=5
    )
)
def test_order_is_that_of_time(moments):
    parsed = parse(*(moment.isoformat() for moment in moments))
    expected = [
        int(moment.replace(tzinfo=timezone.utc, microsecond=0).timestamp()) * 1000
        + moment.microsecond // 1000
        for moment in moments
    ]
    assert parsed == expected


@pytest.mark.parametrize(
    'text', ['noon', '2024-13-01', '2024-03-01T25:00', '-5', '1e3']
)
def test_what_is_no_time(text):
    with pytest.raises(ValueError) as caught:
        parse('2024-03-01', text)
    message = str(caught.value)
    assert message.startswith(f'row 1: cannot read the time {text!r}; expected')


def test_time_zones_all_or_none():
    with pytest.raises(ValueError) as caught:
        parse('2024-03-01T10:00', '2024-03-01T10:00Z')
    assert str(caught.value).startswith("row 1: the time '2024-03-01T10:00Z' has")
    assert 'row 0' in str(caught.value)


def test_nanoseconds_since_1970():
    values = ['1709294700123456789', '1709294700123456790', '']
    assert parse(*values) == [*map(int, values[:2]), -1]
    assert parse(str(2**63 - 1)) == [2**63 - 1]
    with pytest.raises(ValueError, match=r'row 0: cannot read .* below 2\*\*63 \(nano'):
        parse(str(2**63))


def test_microseconds_without_a_point():
    """What strftime('%Y%m%d%H%M%S%f') writes: 20 digits, more than int64 holds."""
    early, late = parse('20240301120500123456', '20240301120501000000')
    assert late - early == 1000 - 123
