# SPDX-License-Identifier: Apache-2.0
"""Projection of embeddings to two dimensions."""

from __future__ import annotations

import numpy as np

METHODS = ('tsne', 'umap', 'pca')


def project(
    features: np.ndarray, method: str = 'tsne', seed: int = 0, neighbours: float = 30
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
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    features = np.asarray(features, dtype=np.float32)
    if features.ndim != 2 or len(features) < 2:
        raise ValueError(
            'project: expected features of shape (N, C) with N at least 2, got '
            f'{features.shape}.'
        )
    if not np.isfinite(features).all():
        raise ValueError('project: the features hold NaN or Inf.')
    if method == 'umap' and len(features) < 5:
        raise ValueError(
            f"project(method='umap') needs at least 5 images, got {len(features)}."
        )
    check_method(method)
    if method == 'umap':
        reducer = _load_umap().UMAP(
            n_neighbors=max(2, min(round(neighbours), len(features) - 1)),
            random_state=seed,
            n_jobs=1,  # what a seed makes of it anyway, with a warning
            # the spectral start needs more points than dimensions
            init='spectral' if len(features) > 10 else 'random',
        )
        return np.asarray(reducer.fit_transform(features), dtype=np.float32)
    # two more columns: a component of nothing for features of one
    padded = np.pad(features - features.mean(axis=0), ((0, 0), (0, 2)))
    with np.errstate(invalid='ignore'):  # equal features have no variance
        points = PCA(2, svd_solver='full').fit_transform(padded)
    if method == 'tsne':
        # scikit-learn refuses a perplexity of N or more, and wants a small start
        perplexity = max(1.0, min(neighbours, (len(features) - 1) / 3))
        start = points / (points[:, 0].std() or 1) * 1e-4
        tsne = TSNE(perplexity=perplexity, init=start, random_state=seed)
        points = tsne.fit_transform(features)
    return np.asarray(points, dtype=np.float32)


def check_method(method: str) -> None:
    """Raise, before images are embedded, if a method or its package is not known."""
    if method not in METHODS:
        raise ValueError(f'project: method must be one of {METHODS}, got {method!r}.')
    if method == 'umap':
        _load_umap()


def _load_umap():
    try:
        import umap
    except ImportError as error:
        raise ImportError(
            "project(method='umap') needs the package umap-learn. Install it "
            "(pip install umap-learn), or use method='tsne'."
        ) from error
    return umap
