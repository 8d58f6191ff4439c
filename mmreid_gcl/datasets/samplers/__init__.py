# SPDX-License-Identifier: Apache-2.0
"""Samplers and the index they draw."""

from .pk_sampler import PKSampler
from .sample_index import SampleIndex

__all__ = ['PKSampler', 'SampleIndex']
