# SPDX-License-Identifier: Apache-2.0
"""Unsupervised person re-identification by graph correlation learning."""

from .version import __version__

__all__ = ['__version__']
