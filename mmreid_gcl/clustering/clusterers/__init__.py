# SPDX-License-Identifier: Apache-2.0
"""Clusterers: features in, labels out."""

from .dbscan import DBSCANClusterer
from .hdbscan import HDBSCANClusterer
from .infomap import InfomapClusterer
from .kmeans import KMeansClusterer

__all__ = [
    'DBSCANClusterer',
    'HDBSCANClusterer',
    'InfomapClusterer',
    'KMeansClusterer',
]
