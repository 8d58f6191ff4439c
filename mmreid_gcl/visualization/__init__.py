# SPDX-License-Identifier: Apache-2.0
"""Figures: pure functions from arrays to ``matplotlib.figure.Figure``."""

from .attention import attention_map
from .canvas import figure_to_data_uri, figure_to_image, save_figure
from .cluster_sheet import cluster_sheet, describe_clusters
from .comparison import comparison
from .curves import training_curves
from .embedding_map import embedding_map
from .graph_audit import AuditPanel, graph_audit
from .html_report import HtmlReport
from .projection import project
from .ranking_sheet import ranking_sheet
from .scalars import Scalars, read_expected, read_scalars
from .similarities import similarity_distributions
from .sweep import sweep

__all__ = [
    'AuditPanel', 'HtmlReport', 'Scalars', 'attention_map', 'cluster_sheet',
    'comparison', 'describe_clusters', 'embedding_map', 'figure_to_data_uri',
    'figure_to_image', 'graph_audit', 'project', 'ranking_sheet', 'read_expected',
    'read_scalars', 'save_figure', 'similarity_distributions', 'sweep',
    'training_curves',
]  # fmt: skip
