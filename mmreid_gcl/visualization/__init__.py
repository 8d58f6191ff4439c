# SPDX-License-Identifier: Apache-2.0
"""Figures: pure functions from arrays to ``matplotlib.figure.Figure``."""

from .canvas import figure_to_data_uri, figure_to_image, save_figure
from .ranking_sheet import ranking_sheet

__all__ = ['figure_to_data_uri', 'figure_to_image', 'ranking_sheet', 'save_figure']
