# SPDX-License-Identifier: Apache-2.0
"""Cluster labels: 0, 1, ... without gaps, -1 for outliers."""

from collections import Counter
from collections.abc import Sequence

import numpy as np


def by_first_member(labels: np.ndarray, min_size: int = 1) -> np.ndarray:
    """Number clusters 0, 1, ... in the order of their first members; (N,) int64.

    Negative labels and clusters below ``min_size`` members become outliers, -1.
    """
    labels = np.asarray(labels)
    kept = np.flatnonzero(labels >= 0)
    out = np.full(len(labels), -1, np.int64)
    values, first, inverse, counts = np.unique(
        labels[kept], return_index=True, return_inverse=True, return_counts=True
    )
    large = np.flatnonzero(counts >= min_size)
    number = np.full(len(values), -1, np.int64)
    number[large[np.argsort(first[large])]] = np.arange(len(large))
    out[kept] = number[inverse]
    return out


def outliers_as_classes(labels: np.ndarray) -> np.ndarray:
    """Make outliers of (N,) labels 0..U-1 the classes U, U + 1, ... in their order."""
    labels = np.array(labels, np.int64)
    outliers = np.flatnonzero(labels < 0)
    labels[outliers] = labels.max(initial=-1) + 1 + np.arange(len(outliers))
    return labels


def camera_summary(labels: np.ndarray, camids: np.ndarray) -> dict[str, float]:
    """How much of a clustering spans cameras, which is what it is for.

    Args:
        labels (np.ndarray): (N,) clusters, -1 is an outlier.
        camids (np.ndarray): (N,) cameras, numbers or names.

    Returns:
        dict[str, float]: ``cross_camera_clusters``, those in two or more cameras, and
        ``cross_camera_images``, the share of all images that are in one of them.
    """
    labels, kept = np.asarray(labels), np.asarray(labels) >= 0
    numbers = np.unique(camids, return_inverse=True)[1]
    pairs = np.unique(np.stack([labels[kept], numbers[kept]]), axis=1)
    clusters, cameras = np.unique(pairs[0], return_counts=True)
    across = clusters[cameras > 1]
    share = np.isin(labels, across).mean() if len(labels) else 0.0
    return dict(cross_camera_clusters=len(across), cross_camera_images=float(share))


def who_was_where(
    labels: Sequence[int], cameras: Sequence[str], order: Sequence[int]
) -> list[tuple[int, str, list[int]]]:
    """Which images of a cluster a camera took.

    Args:
        labels (Sequence[int]): (N,) clusters, -1 is an outlier.
        cameras (Sequence[str]): (N,) names of cameras.
        order (Sequence[int]): (N,) images in the order of time.

    Returns:
        list[tuple[int, str, list[int]]]: Label, camera, and the images in the order
        of time; large clusters first, in a cluster the camera with the earliest image.
    """
    found: dict[tuple[int, str], list[int]] = {}
    for image in order:
        if labels[image] >= 0:
            found.setdefault((int(labels[image]), cameras[image]), []).append(
                int(image)
            )
    sizes = Counter(int(label) for label in labels)
    parts = sorted(found, key=lambda part: (-sizes[part[0]], part[0]))
    return [(*part, found[part]) for part in parts]
