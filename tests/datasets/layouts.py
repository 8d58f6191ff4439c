# SPDX-License-Identifier: Apache-2.0
"""Miniature data sets on disk."""

import cv2
import numpy as np


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
