# SPDX-License-Identifier: Apache-2.0
"""Metrics for mmengine evaluators."""

from .reid_metric import ReIDMetric

__all__ = ['ReIDMetric']
