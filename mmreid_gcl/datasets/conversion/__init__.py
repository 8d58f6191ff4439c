# SPDX-License-Identifier: Apache-2.0
"""Converters from archives and videos to folders that the data sets read."""

from .cuhk03 import convert_cuhk03, read_protocol
from .market_layout import convert_to_market
from .output import Output
from .tracks import convert_tracks, read_mot

__all__ = [
    'Output',
    'convert_cuhk03',
    'convert_to_market',
    'convert_tracks',
    'read_mot',
    'read_protocol',
]
