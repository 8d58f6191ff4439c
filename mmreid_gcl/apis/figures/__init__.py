# SPDX-License-Identifier: Apache-2.0
"""Figures of a trained model on the data of its config."""

from .attention import attention_figure
from .clusters import cluster_figure
from .embedding import embedding_figure
from .ranking import ranking_figure
from .source import ModelSource

__all__ = [
    'ModelSource',
    'attention_figure',
    'cluster_figure',
    'embedding_figure',
    'ranking_figure',
]
