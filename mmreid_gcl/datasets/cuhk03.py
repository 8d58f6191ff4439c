# SPDX-License-Identifier: Apache-2.0
"""CUHK03 in the new protocol."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from mmreid_gcl.registry import DATASETS

from .benchmark import BenchmarkDataset, Counts

_OFFICIAL = {
    'labeled': dict(train=Counts(7368, 767, 2), query=Counts(1400, 700, 2),
                    gallery=Counts(5328, 700, 2)),
    'detected': dict(train=Counts(7365, 767, 2), query=Counts(1400, 700, 2),
                     gallery=Counts(5332, 700, 2)),
}  # fmt: skip


@DATASETS.register_module()
class CUHK03(BenchmarkDataset):
    """CUHK03 in the split into 767 and 700 people ("CUHK03-NP").

    Li et al., "DeepReID: Deep Filter Pairing Neural Network for Person
    Re-identification", CVPR 2014; split of Zhong et al., "Re-ranking Person
    Re-identification with k-reciprocal Encoding", CVPR 2017.

    .. code-block:: text

        cuhk03/                            labeled            detected
        ├── labeled/
        │   ├── bounding_box_train/    7,368 images       7,365 images
        │   ├── query/                 1,400              1,400
        │   └── bounding_box_test/     5,328              5,332
        └── detected/
            └── …

    ``tools/dataset_converters/cuhk03.py`` makes it from the authors' release;
    the folders that the authors of the split published are read as well. In
    ``0001_c1_2_017_03.png``, 0001 is the identity and c1 the camera (``camid`` 0),
    one of the two that saw this person; what follows tells images apart. There is
    no time.

    Args:
        data_root (str): The folder that holds ``labeled`` or ``detected``, its
            parent, or the folder that holds the three parts.
        crops (str): 'labeled' (cut out by hand) or 'detected'. Defaults to
            'detected', the harder ones.
        split, pipeline, kwargs: See
            :class:`~mmreid_gcl.datasets.benchmark.BenchmarkDataset`.
    """

    TITLE = 'CUHK03'
    FOLDERS = ('CUHK03-NP', 'cuhk03-np', 'cuhk03', 'CUHK03')
    NAME_PATTERN = re.compile(
        r'(?P<pid>-1|[0-9]+)_c(?P<camid>[0-9]+)(?:_[0-9]+)+\.[A-Za-z]+'
    )
    NAME_EXAMPLE = (
        '0001_c1_2_017_03.png (identity, camera, and numbers that tell images apart)'
    )

    def __init__(
        self,
        data_root: str,
        crops: str = 'detected',
        split: str = 'train',
        pipeline: Sequence[dict] = (),
        **kwargs,
    ) -> None:
        if crops not in _OFFICIAL:
            raise ValueError(
                f'CUHK03: crops must be one of {tuple(_OFFICIAL)}, got {crops!r}.'
            )
        self.crops = crops
        self.OFFICIAL = _OFFICIAL[crops]
        super().__init__(data_root, split=split, pipeline=pipeline, **kwargs)

    def find_root(self) -> Path:
        """The folder of the crops: ``data_root`` or one inside it."""
        given = Path(self.data_root)
        for folder in (given, *(given / name for name in self.FOLDERS)):
            if self.has_parts(folder / self.crops):
                self.data_root = str(folder / self.crops)
                break
        return super().find_root()

    def layout_text(self) -> str:
        """The folders of the layout, for messages."""
        return f'{super().layout_text()} (or {self.crops} with them)'
