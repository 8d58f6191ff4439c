# SPDX-License-Identifier: Apache-2.0
"""DBSCAN on a sparse graph of distances, by connected components."""

import numpy as np
import scipy.sparse as sp

from mmreid_gcl.compiled import jit


def dbscan_on_graph(
    distances: sp.csr_array, eps: float, min_samples: int
) -> np.ndarray:
    """DBSCAN labels from all distances up to (at least) eps.

    Ester et al., *A Density-Based Algorithm for Discovering Clusters*, KDD 1996.
    A row with at least ``min_samples`` rows within ``eps``, itself counted, is a
    core point; clusters are the connected components of core points. Any other
    row joins a core point within ``eps``, of several clusters the first. Labels
    are those of ``sklearn.cluster.DBSCAN(metric='precomputed')``.

    Args:
        distances (scipy.sparse.csr_array): (N, N), symmetric, the diagonal
            stored; what is not stored is farther than eps.
        eps (float): Radius.
        min_samples (int): Rows within the radius that make a core point.

    Returns:
        np.ndarray: (N,) int64, clusters 0, 1, ... in the order of their first
        core point, -1 for outliers.
    """
    labels = np.empty(distances.shape[0], np.int64)
    _dbscan(
        distances.indptr,
        distances.indices,
        distances.data,
        distances.data.dtype.type(eps),
        min_samples,
        labels,
    )
    return labels


@jit
def _find(parent, i):
    while parent[i] != i:
        parent[i] = parent[parent[i]]
        i = parent[i]
    return i


@jit
def _dbscan(indptr, indices, data, eps, min_samples, labels):
    n = len(labels)
    core = np.zeros(n, np.bool_)
    for i in range(n):
        near = 0
        for e in range(indptr[i], indptr[i + 1]):
            near += data[e] <= eps
        core[i] = near >= min_samples
    parent = np.arange(n)
    for i in range(n):
        if not core[i]:
            continue
        for e in range(indptr[i], indptr[i + 1]):
            j = indices[e]
            if j < i and core[j] and data[e] <= eps:
                a, b = _find(parent, i), _find(parent, j)
                # the smaller index is the root: the component's first core point
                parent[max(a, b)] = min(a, b)
    clusters = 0
    for i in range(n):
        labels[i] = -1
        if core[i]:
            root = _find(parent, i)
            if root == i:
                labels[i] = clusters
                clusters += 1
            else:
                labels[i] = labels[root]
    for i in range(n):
        if core[i]:
            continue
        for e in range(indptr[i], indptr[i + 1]):
            j = indices[e]
            if core[j] and data[e] <= eps and (labels[i] < 0 or labels[j] < labels[i]):
                labels[i] = labels[j]
