# SPDX-License-Identifier: Apache-2.0
"""The PK sampler and its index."""

from .pk_sampler import PKSampler
from .sample_index import SampleIndex

__all__ = ['PKSampler', 'SampleIndex']
