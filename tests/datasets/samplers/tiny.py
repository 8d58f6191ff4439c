# SPDX-License-Identifier: Apache-2.0
"""Noise images of nobody, and a data set of them."""

import cv2
import numpy as np

from mmreid_gcl.datasets import ReIDDataset

AUGMENTATION = [
    dict(type='LoadImageFromFile'),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='RandomCrop', crop_size=(16, 8), padding=4),
    dict(type='RandomErasing', erase_prob=0.7, mode='rand'),
    dict(type='PackInputs', meta_keys=('sample_idx', 'img_path')),
]


class TinyPeople(ReIDDataset):
    """Images 0000.png, ... of camera 0, 1, 2, 0, ..., at a frame of their own."""

    COUNT = 20

    def load_data_list(self):
        return [
            dict(
                img_path=f'{self.data_root}/{i:04d}.png',
                pid=i // 4,
                camid=i % 3,
                sequence=0,
                frame=i,
                is_query=False,
            )
            for i in range(self.COUNT)
        ]


def write_people(folder, count=TinyPeople.COUNT):
    rng = np.random.default_rng(0)
    for i in range(count):
        image = rng.integers(0, 256, (16, 8, 3), np.uint8)
        assert cv2.imwrite(str(folder / f'{i:04d}.png'), image)
    return folder
