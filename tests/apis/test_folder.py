# SPDX-License-Identifier: Apache-2.0
"""The listing of a folder: tracks by the numbers that their tracker gave them."""

import pytest

from mmreid_gcl.apis.folder import list_folder
from tests.apis.tiny import draw, write

TRACKED = dict(pattern=r'^\w+/(?P<track>[^/]+)/')


@pytest.mark.parametrize(
    ('names', 'options', 'expected'),
    [
        # as tracks_to_crops.py writes them: two cameras with the same numbers
        (
            ['a/track_000004/1', 'a/track_000012/1', 'b/track_000004/1'],
            {},
            [4, 12, 4],
        ),
        # two recordings of camera a have a track 4; camera b has its own numbers still
        (
            [
                'a/am/track_000004/1',
                'a/pm/track_000004/1',
                'a/pm/track_000007/1',
                'b/am/track_000007/1',
            ],
            {},
            [0, 1, 2, 7],
        ),
        # MARS: different numbers in camera 1, T0003 of two people in camera 2
        (
            [
                '0001/0001C1T0005F001',
                '0001/0001C1T0005F002',
                '0001/0001C2T0003F001',
                '0002/0002C1T0007F001',
                '0002/0002C2T0003F001',
            ],
            {},
            [5, 5, 2, 7, 3],
        ),
        # bob has no number; -1 is in no track
        (['a/7/1', 'a/bob/1', 'b/cam2-12/1', 'b/-1/1'], TRACKED, [0, 1, -1, 12]),
        # the end of a fraction is no number of a track, nor is what int64 cannot hold
        (['a/7.0/1', f'b/{10**20}/1', f'c/{10**17}/1'], TRACKED, [0, 1, 10**17]),
    ],
)
def test_tracks_have_their_own_numbers(tmp_path, names, options, expected):
    for name in names:
        write(tmp_path / f'{name}.png', draw(0))
    images = list_folder(tmp_path, **options)
    own, tracks = (images.columns[name].tolist() for name in ('own_track', 'track'))
    assert own == expected
    # a camera and its number are one track, whose number for clustering is its own
    assert len({*zip(images.cameras, own)}) == len({*tracks})
    assert len({*zip(images.cameras, own, tracks)}) == len({*tracks})


@pytest.mark.parametrize(
    ('options', 'moments'),
    [
        ({}, [-1, -1]),
        (dict(order_by_name=True), [0, 1]),
        (dict(pattern=r'(?P<frame>\d+)\.png'), [7, 9]),
    ],
)
def test_an_order_of_names_is_no_moment(tmp_path, options, moments):
    """Two tracks are not seen together because their names take turns."""
    for name in ('7', '9'):
        write(tmp_path / 'hall' / f'{name}.png', draw(0))
    records = list_folder(tmp_path, **options).records()
    assert records['moment'].tolist() == moments
    assert records['frame'].tolist() == ([0, 1] if moments[0] < 0 else moments)
