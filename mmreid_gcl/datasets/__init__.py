# SPDX-License-Identifier: Apache-2.0
"""Data sets of people, what a sample is, and the sampler."""

from .reid_dataset import UNKNOWN, ReIDDataset
from .samplers.sample_index import SampleIndex

__all__ = ['UNKNOWN', 'ReIDDataset', 'SampleIndex']
