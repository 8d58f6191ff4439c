# SPDX-License-Identifier: Apache-2.0
"""The tracks of a camera as crops that PersonFolder reads.

``python tools/dataset_converters/tracks_to_crops.py hall.txt hall.mp4 crops/hall``
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from mmreid_gcl.cli.command_line import (
    DONE,
    SKIPPED,
    add_json_option,
    show_result,
    tool,
)
from mmreid_gcl.datasets.conversion import convert_tracks


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description='Cut what a tracker found out of a video: writes track_000012/'
        '000345.jpg (track, frame), SHA256SUMS and conversion.json. Repeat a command '
        'that broke off to go on. Exit code 2: it could not be done; 3: done, but '
        'some frames are not in the video.'
    )
    parser.add_argument(
        'tracks', help='text of MOTChallenge: a line frame,id,x,y,w,h,conf,...'
    )
    parser.add_argument('source', help='video, or folder of frames (img1/000001.jpg)')
    parser.add_argument(
        'out', help='folder to write: that of the camera, or of one recording in it'
    )
    parser.add_argument(
        '--every', type=int, default=1, help='take each n-th image of a track'
    )
    parser.add_argument(
        '--at-most', type=int, help='images of a track, evenly spread; default: all'
    )
    parser.add_argument(
        '--min-size',
        type=int,
        nargs=2,
        default=(32, 16),
        metavar=('HEIGHT', 'WIDTH'),
        help='smallest crop in pixels; default: 32 16',
    )
    parser.add_argument(
        '--min-visible',
        type=float,
        default=0.5,
        help='smallest share of a box that is in the picture (%(default)s)',
    )
    parser.add_argument('--min-confidence', type=float, help='default: take all')
    parser.add_argument(
        '--classes',
        type=int,
        nargs='+',
        help='take these (eighth column); default: with nine columns 1, pedestrians',
    )
    parser.add_argument(
        '--first-frame', type=int, default=1, help='its number in the tracks'
    )
    parser.add_argument('--quality', type=int, default=95, help='of the JPEG files')
    parser.add_argument('--overwrite', action='store_true', help='replace a conversion')
    add_json_option(parser)
    return parser.parse_args(argv)


@tool
def main(argv: Sequence[str] | None = None) -> int:
    """Convert and print the counts."""
    args = parse_args(argv)
    options = vars(args) | dict(min_size=tuple(args.min_size))
    options.pop('json')
    counts = convert_tracks(**options)
    found = dict(counts)
    print(f'{args.out}: {counts["crops"]:,} crops of {counts["tracks"]:,} tracks')
    del counts['crops'], counts['tracks']
    words = dict(
        clipped='crops clipped to the picture',
        tiny='boxes left out: too small or outside the picture',
        hidden='boxes left out: mostly outside the picture (--min-visible)',
        missing='boxes left out: their frame is missing or cannot be decoded',
        empty_tracks='tracks without a crop',
    )
    for name, count in counts.items():
        if count:
            print(f'  {count:,} {words.get(name, f"rows left out: {name}")}')
    show_result(args, found)
    return SKIPPED if counts['missing'] else DONE


if __name__ == '__main__':
    sys.exit(main())
