# SPDX-License-Identifier: Apache-2.0
"""VeRi-776: vehicles."""

from __future__ import annotations

import re

from mmreid_gcl.registry import DATASETS

from .benchmark import BenchmarkDataset, Counts


@DATASETS.register_module()
class VeRi776(BenchmarkDataset):
    """VeRi-776, vehicles seen by 20 cameras, or a data set in its layout.

    Liu et al., "Large-scale Vehicle Re-identification in Urban Surveillance
    Videos", ICME 2016; Liu et al., "A Deep Learning-Based Approach to Progressive
    Vehicle Re-identification for Urban Surveillance", ECCV 2016.

    .. code-block:: text

        VeRi/
        ├── image_train/   37,778 images, 576 vehicles
        ├── image_query/    1,678 images, 200 vehicles
        └── image_test/    11,579 images, 200 vehicles

    In ``0001_c001_00016450_0.jpg``, 0001 is the vehicle, c001 the camera
    (``camid`` 0), 00016450 the frame, 0 a number that tells images apart. There is
    no sequence. The query images are in ``image_test`` too; of the query's own
    camera, they do not count.

    See :class:`~mmreid_gcl.datasets.benchmark.BenchmarkDataset` for the arguments.
    """

    TITLE = 'VeRi-776'
    FOLDERS = ('VeRi', 'VeRi-776', 'VeRi_776', 'veri', 'veri776')
    PARTS = {'train': 'image_train', 'query': 'image_query', 'gallery': 'image_test'}
    NAME_PATTERN = re.compile(
        r'(?P<pid>-1|[0-9]+)_c(?P<camid>[0-9]+)_(?P<frame>[0-9]+)_[0-9]+\.[A-Za-z]+'
    )
    NAME_EXAMPLE = '0001_c001_00016450_0.jpg (vehicle, camera, frame, number)'
    OFFICIAL = {
        'train': Counts(37778, 576),
        'query': Counts(1678, 200),
        'gallery': Counts(11579, 200),
    }
