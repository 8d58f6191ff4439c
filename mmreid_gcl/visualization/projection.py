# SPDX-License-Identifier: Apache-2.0
"""From embeddings to points in the plane."""

from __future__ import annotations

import numpy as np

METHODS = ('tsne', 'umap', 'pca')


def project(
    features: np.ndarray,
    method: str = 'tsne',
    seed: int = 0,
    neighbours: float = 30,
) -> np.ndarray:
    """Embeddings in two dimensions.

    Args:
        features (np.ndarray): (N, C), N at least 2.
        method (str): 'tsne' (van der Maaten and Hinton 2008, in scikit-learn,
            begun from the principal components), 'umap' (McInnes et al. 2018,
            needs the package ``umap-learn``) or 'pca'. Defaults to 'tsne'.
        seed (int): Seed of its random numbers. Defaults to 0.
        neighbours (float): Perplexity of t-SNE, ``n_neighbors`` of UMAP: how
            large a neighbourhood is; less where there are few images.
            Defaults to 30.

    Returns:
        np.ndarray: (N, 2) float32.

    Raises:
        ImportError: If ``umap-learn`` is asked for and not installed.
        ValueError: If the method is unknown, or the features are no (N, C)
            matrix of finite numbers.
    """
    features = np.asarray(features, dtype=np.float32)
    if method not in METHODS:
        raise ValueError(f'project: method must be one of {METHODS}, got {method!r}.')
    if features.ndim != 2 or len(features) < 2:
        raise ValueError(
            'project: expected features of shape (N, C) with N at least 2, got '
            f'{features.shape}.'
        )
    if not np.isfinite(features).all():
        raise ValueError('project: the features hold NaN or Inf.')
    if method == 'umap':
        if len(features) < 5:
            raise ValueError(
                f"project(method='umap') needs at least 5 images, got {len(features)}."
            )
        points = _umap(features, seed, neighbours)
    elif method == 'tsne':
        points = _tsne(features, seed, neighbours)
    else:
        points = _pca(features)
    return np.asarray(points, dtype=np.float32)


def check_method(method: str) -> None:
    """Make sure, before images are embedded, that a method can be had.

    Args:
        method (str): As of :func:`project`.

    Raises:
        ImportError: If its package is not installed.
        ValueError: If it is unknown.
    """
    if method not in METHODS:
        raise ValueError(f'project: method must be one of {METHODS}, got {method!r}.')
    if method == 'umap':
        _load_umap()


def _tsne(features: np.ndarray, seed: int, perplexity: float) -> np.ndarray:
    from sklearn.manifold import TSNE

    # scikit-learn refuses a perplexity of N or more
    perplexity = max(1.0, min(perplexity, (len(features) - 1) / 3))
    tsne = TSNE(perplexity=perplexity, init=_start(features), random_state=seed)
    return tsne.fit_transform(features)


def _start(features: np.ndarray) -> np.ndarray:
    """Principal components as small as t-SNE wants its beginning."""
    points = _pca(features)
    scale = points[:, 0].std()
    return points / scale * 1e-4 if scale > 0 else points


def _pca(features: np.ndarray) -> np.ndarray:
    centred = features - features.mean(axis=0)
    left, values, _ = np.linalg.svd(centred, full_matrices=False)
    points = np.zeros((len(features), 2), dtype=np.float32)
    known = min(2, len(values))
    points[:, :known] = left[:, :known] * values[:known]
    # the sign of a component is arbitrary; fix it, so that runs agree
    peaks = points[np.abs(points).argmax(axis=0), [0, 1]]
    return points * np.where(peaks < 0, -1, 1)


def _umap(features: np.ndarray, seed: int, neighbours: float) -> np.ndarray:
    reducer = _load_umap().UMAP(
        n_neighbors=max(2, min(round(neighbours), len(features) - 1)),
        random_state=seed,
        n_jobs=1,  # what a seed makes of it anyway, with a warning
        # the spectral start needs more points than dimensions
        init='spectral' if len(features) > 10 else 'random',
    )
    return reducer.fit_transform(features)


def _load_umap():
    try:
        import umap
    except ImportError as error:
        raise ImportError(
            "project(method='umap') needs the package umap-learn. Install it "
            "(pip install umap-learn), or use method='tsne'."
        ) from error
    return umap
