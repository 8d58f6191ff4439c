# SPDX-License-Identifier: Apache-2.0
"""Clusterers: features in, labels out."""

from .dbscan import DBSCANClusterer

__all__ = ['DBSCANClusterer']
