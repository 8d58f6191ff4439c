# SPDX-License-Identifier: Apache-2.0
"""Normalisation of features by their camera's mean and standard deviation.

Backgrounds, light and colours shift all features of a camera together, so that
two people in one camera can be nearer than one person in two. Subtracting every
camera's mean removes the shift without any label. The statistics are those that
Song et al., "Exploring the Camera Bias of Person Re-identification" (ICLR 2025),
normalise by; the paper of GCL does nothing of the kind.
"""

from __future__ import annotations

import numpy as np

from .tracks import track_units

MODES = ('mean', 'standardize')


def normalize_by_camera(
    features: np.ndarray,
    camids: np.ndarray,
    mode: str = 'mean',
    min_images: int = 16,
    tracks: np.ndarray | None = None,
    min_tracks: int = 4,
) -> np.ndarray:
    """Subtract each camera's mean from its features; unit length again.

    Args:
        features (np.ndarray): (N, C) floating point.
        camids (np.ndarray): (N,) camera of each row; any integers.
        mode (str): 'mean' subtracts the mean, 'standardize' also divides every
            channel by its standard deviation in the camera. Defaults to 'mean'.
        min_images (int): A camera with fewer images, whose mean would be made of
            a few people, takes the statistics of all images. Defaults to 16.
        tracks (np.ndarray, optional): (N,) track of each image; -1 is in none.
        min_tracks (int): Likewise a camera with fewer tracks, of which the mean would
            be a person; an image without a track counts as one. Defaults to 4.

    Returns:
        np.ndarray: (N, C) float32, rows of unit length. Where nothing is left, as
        of the frames of a camera that shows one still picture, a row stays as it
        was but for its length.

    Raises:
        ValueError: If the shapes differ or ``mode`` is unknown.
    """
    if mode not in MODES:
        raise ValueError(f'camera_norm must be one of {MODES} or None, got {mode!r}.')
    features, camids = np.asarray(features), np.asarray(camids)
    if features.ndim != 2 or camids.shape != (len(features),):
        raise ValueError(
            f'normalize_by_camera: features {features.shape} and camids '
            f'{camids.shape} must be (N, C) and (N,).'
        )
    cameras, camera, counts = np.unique(camids, return_inverse=True, return_counts=True)
    enough = counts >= min_images
    if tracks is not None:
        first = np.unique(track_units(tracks), return_index=True)[1]
        own = np.bincount(camera.reshape(-1)[first], minlength=len(cameras))
        enough &= own >= min_tracks
    groups = [np.flatnonzero(camids == c) for c in cameras[enough]]
    few = np.flatnonzero(np.isin(camids, cameras[~enough]))
    out = np.empty(features.shape, np.float32)
    if len(few):
        out[few] = _normalized(features[few], *_statistics(features), mode)
    for rows in groups:
        own = features[rows]
        out[rows] = _normalized(own, *_statistics(own), mode)
    return out


def _statistics(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return rows.mean(axis=0, dtype=np.float64), rows.std(axis=0, dtype=np.float64)


def _normalized(
    rows: np.ndarray, mean: np.ndarray, deviation: np.ndarray, mode: str
) -> np.ndarray:
    centred = rows - mean
    if mode == 'standardize':
        # a channel that is constant in a camera says nothing there
        varies = deviation > 1e-12
        centred = np.where(varies, centred / np.where(varies, deviation, 1.0), 0.0)
    length = np.linalg.norm(centred, axis=1, keepdims=True)
    # rounding of the mean is no direction
    nothing = length <= 1e-6 * np.linalg.norm(rows, axis=1, keepdims=True)
    kept = np.where(nothing, rows, centred)
    length = np.linalg.norm(kept, axis=1, keepdims=True)
    return kept / np.where(length > 0, length, 1.0)
