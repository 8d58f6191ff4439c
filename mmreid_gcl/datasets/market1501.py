# SPDX-License-Identifier: Apache-2.0
"""Market-1501."""

from __future__ import annotations

import re

from mmreid_gcl.registry import DATASETS

from .benchmark import BenchmarkDataset, Counts


@DATASETS.register_module()
class Market1501(BenchmarkDataset):
    """Market-1501, or a data set in its layout and naming.

    Zheng et al., "Scalable Person Re-identification: A Benchmark", ICCV 2015.

    .. code-block:: text

        Market-1501-v15.09.15/
        ├── bounding_box_train/   12,936 images, 751 identities
        ├── query/                 3,368 images, 750 identities
        └── bounding_box_test/    15,913 images, 750 identities and pid 0

    In ``0002_c1s1_000451_03.jpg``, 0002 is the identity, c1 the camera
    (``camid`` 0), s1 the sequence, 000451 the frame in it, and 03 the number
    of the box. Identity 0000 is a distractor and stays in the gallery; -1 is
    junk and is left out.

    See :class:`~mmreid_gcl.datasets.benchmark.BenchmarkDataset` for the arguments.
    """

    TITLE = 'Market-1501'
    FOLDERS = ('Market-1501-v15.09.15', 'Market-1501', 'Market1501', 'market1501')
    NAME_PATTERN = re.compile(
        r'(?P<pid>-1|[0-9]+)_c(?P<camid>[0-9]+)s(?P<sequence>[0-9]+)'
        r'_(?P<frame>[0-9]+)_[0-9]+\.[A-Za-z]+'
    )
    NAME_EXAMPLE = '0002_c1s1_000451_03.jpg (identity, camera, sequence, frame, box)'
    OFFICIAL = {
        'train': Counts(12936, 751, 6),
        'query': Counts(3368, 750, 6),
        'gallery': Counts(15913, 751, 6),
    }
