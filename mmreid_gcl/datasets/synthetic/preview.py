# SPDX-License-Identifier: Apache-2.0
"""A contact sheet of a synthetic data set."""

from __future__ import annotations

import random
import re
from collections import defaultdict
from pathlib import Path

import cv2
import numpy as np

from .plan import TRAIN

_NAME = re.compile(r'(-1|\d{4,})_c(\d+)s\d+_\d{6}_\d{2}\.jpg')


def contact_sheet(
    root: str | Path, identities: int = 10, per_camera: int = 2, seed: int = 0
) -> np.ndarray:
    """Several people as all cameras see them, with labels.

    Args:
        root (str | Path): A data set in Market-1501's layout.
        identities (int): Rows. Defaults to 10.
        per_camera (int): Images of a person and camera. Defaults to 2.
        seed (int): Which people. Defaults to 0.

    Returns:
        np.ndarray: (h, w, 3) uint8, blue green red.

    Raises:
        FileNotFoundError: If there is no training image.
    """
    folder = Path(root) / TRAIN
    shots: dict = defaultdict(lambda: defaultdict(list))
    for path in sorted(folder.glob('*.jpg')):
        match = _NAME.fullmatch(path.name)
        if match and int(match[1]) > 0:
            shots[match[1]][int(match[2])].append(path)
    if not shots:
        raise FileNotFoundError(f'There are no training images in {folder}.')
    cameras = sorted({camera for seen in shots.values() for camera in seen})
    people = random.Random(seed).sample(sorted(shots), min(identities, len(shots)))
    first = cv2.imread(str(next(iter(next(iter(shots.values())).values()))[0]))
    scale = max(1, round(128 / first.shape[0]))
    height, width = first.shape[0] * scale, first.shape[1] * scale
    gap, left, top = 4, 56, 22
    cell_h, cell_w = height + gap, per_camera * (width + 1) + gap
    sheet = np.full(
        (top + cell_h * len(people), left + cell_w * len(cameras), 3), 255, np.uint8
    )
    for column, camera in enumerate(cameras):
        _label(sheet, f'camera {camera}', left + column * cell_w + 2, 15)
    for row, person in enumerate(people):
        y = top + row * cell_h
        _label(sheet, person, 6, y + height // 2)
        for column, camera in enumerate(cameras):
            paths = shots[person].get(camera, [])
            step = max(1, len(paths) // per_camera)
            for i, path in enumerate(paths[::step][:per_camera]):
                image = cv2.imread(str(path))
                image = cv2.resize(
                    image, (width, height), interpolation=cv2.INTER_NEAREST
                )
                x = left + column * cell_w + i * (width + 1)
                sheet[y : y + height, x : x + width] = image
    return sheet


def _label(sheet: np.ndarray, text: str, x: int, y: int) -> None:
    font = cv2.FONT_HERSHEY_SIMPLEX
    cv2.putText(sheet, text, (x, y), font, 0.42, (20, 20, 20), 1, cv2.LINE_AA)
