# SPDX-License-Identifier: Apache-2.0
"""Clusterers: features in, labels out."""

from .base import BaseClusterer, JaccardClusterer, Records, collapse
from .dbscan import DBSCANClusterer
from .hdbscan import HDBSCANClusterer
from .infomap import InfomapClusterer
from .kmeans import KMeansClusterer
from .self_paced import SelfPacedClusterer
from .tracks import TrackClusterer

__all__ = [
    'BaseClusterer',
    'DBSCANClusterer',
    'HDBSCANClusterer',
    'InfomapClusterer',
    'JaccardClusterer',
    'KMeansClusterer',
    'Records',
    'SelfPacedClusterer',
    'TrackClusterer',
    'collapse',
]
