# SPDX-License-Identifier: Apache-2.0
"""Re-ID data sets and samplers."""

from .concat_dataset import ConcatDataset
from .cuhk03 import CUHK03
from .dukemtmc import DukeMTMCreID
from .image_cache import CachedTransforms
from .market1501 import Market1501
from .msmt17 import MSMT17
from .person_folder import UNLABELLED, PersonFolder
from .reid_dataset import UNKNOWN, ReIDDataset
from .samplers.pk_sampler import PKSampler, SampleIndex
from .veri776 import VeRi776
from .weak_view import WeakView

__all__ = [
    'CUHK03', 'MSMT17', 'UNKNOWN', 'UNLABELLED', 'CachedTransforms', 'ConcatDataset',
    'DukeMTMCreID', 'Market1501', 'PKSampler', 'PersonFolder', 'ReIDDataset',
    'SampleIndex', 'VeRi776', 'WeakView',
]  # fmt: skip
