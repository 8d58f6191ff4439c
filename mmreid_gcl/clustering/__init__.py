# SPDX-License-Identifier: Apache-2.0
"""Clustering: features in, labels out."""

from ..labels import camera_summary
from .camera_normalization import normalize_by_camera
from .clusterers import (
    BaseClusterer,
    DBSCANClusterer,
    HDBSCANClusterer,
    InfomapClusterer,
    JaccardClusterer,
    KMeansClusterer,
    SelfPacedClusterer,
    TrackClusterer,
    collapse,
)
from .components import dbscan_on_graph
from .controls import FrozenLabels, ShuffledLabels
from .graph_audit import GraphAudit, audit_graphs
from .graphs import NeighbourGraphs, OrderedGraphs
from .k_reciprocal import k_reciprocal_jaccard
from .knn import knn_search
from .label_quality import (
    adjusted_rand_index,
    camera_pairs,
    cluster_summary,
    graph_silhouette,
    normalized_mutual_info,
    pairwise_precision_recall,
    track_summary,
)
from .labeller import Labeller, PseudoLabels, labeller_of

__all__ = [
    'BaseClusterer',
    'DBSCANClusterer',
    'FrozenLabels',
    'GraphAudit',
    'HDBSCANClusterer',
    'InfomapClusterer',
    'JaccardClusterer',
    'KMeansClusterer',
    'Labeller',
    'NeighbourGraphs',
    'OrderedGraphs',
    'PseudoLabels',
    'SelfPacedClusterer',
    'ShuffledLabels',
    'TrackClusterer',
    'adjusted_rand_index',
    'audit_graphs',
    'camera_pairs',
    'camera_summary',
    'cluster_summary',
    'collapse',
    'dbscan_on_graph',
    'graph_silhouette',
    'k_reciprocal_jaccard',
    'knn_search',
    'labeller_of',
    'normalize_by_camera',
    'normalized_mutual_info',
    'pairwise_precision_recall',
    'track_summary',
]
