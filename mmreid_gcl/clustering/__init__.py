# SPDX-License-Identifier: Apache-2.0
"""Features in, labels out. Knows no runner and no data set."""

from .clusterers import DBSCANClusterer
from .components import dbscan_on_graph
from .graphs import NeighbourGraphs, OrderedGraphs
from .k_reciprocal import k_reciprocal_jaccard
from .knn import knn_search

__all__ = [
    'NeighbourGraphs',
    'OrderedGraphs',
    'DBSCANClusterer',
    'dbscan_on_graph',
    'k_reciprocal_jaccard',
    'knn_search',
]
