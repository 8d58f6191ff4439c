# SPDX-License-Identifier: Apache-2.0
"""Miniature data sets on disk, and a look at the log."""

import logging

import cv2
import numpy as np
import pytest
from mmengine.logging import MMLogger


def write_image(path, height=8, width=4, value=0):
    """A plain image; its folders are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = np.full((height, width, 3), value, np.uint8)
    # imencode, as imwrite fails on some names in other scripts
    done, data = cv2.imencode(path.suffix.lower(), image)
    assert done
    path.write_bytes(data.tobytes())
    return path


def write_images(folder, names, **kwargs):
    for name in names:
        write_image(folder / name, **kwargs)
    return folder


def samples_of(dataset):
    """All samples, without the position that mmengine adds."""
    samples = [dataset.get_data_info(i) for i in range(len(dataset))]
    for position, sample in enumerate(samples):
        assert sample.pop('sample_idx') == position
    return samples


@pytest.fixture
def log_lines():
    """Lines written to the log since: a list of (level name, message)."""
    lines = []

    class Keep(logging.Handler):
        def emit(self, record):
            lines.append((record.levelname, record.getMessage()))

    logger = MMLogger.get_current_instance()
    keep = Keep()
    logger.addHandler(keep)
    yield lines
    logger.removeHandler(keep)
