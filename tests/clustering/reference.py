# SPDX-License-Identifier: Apache-2.0
"""The definitions of clustering, written down as loops over plain Python sets."""

import math
from itertools import pairwise

import numpy as np


def sorted_neighbours(features):
    """All rows by distance to each row; itself first, ties by index."""
    x = np.asarray(features, np.float64)
    squared = ((x[:, None] - x[None]) ** 2).sum(-1)
    order = []
    for i in range(len(x)):
        others = [j for j in range(len(x)) if j != i]
        order.append([i] + sorted(others, key=lambda j: (squared[i, j], j)))
    return np.sqrt(squared), order


def jaccard(features, k1, k2):
    """Dense k-reciprocal Jaccard distances (N, N), float64."""
    x = np.asarray(features, np.float64)
    x = x / np.linalg.norm(x, axis=1, keepdims=True)
    n = len(x)
    _, order = sorted_neighbours(x)
    half = int(np.around(k1 / 2)) + 1
    big = [set(order[i][:k1]) for i in range(n)]
    small = [set(order[i][:half]) for i in range(n)]
    r = [{j for j in big[i] if i in big[j]} for i in range(n)]
    r_half = [{j for j in small[i] if i in small[j]} for i in range(n)]
    v = np.zeros((n, n))
    for i in range(n):
        star = set(r[i])
        for c in r[i]:
            if 3 * len(r_half[c] & r[i]) > 2 * len(r_half[c]):
                star |= r_half[c]
        weights = {j: math.exp(-(2 - 2 * float(x[i] @ x[j]))) for j in star}
        for j in star:
            v[i, j] = weights[j] / sum(weights.values())
    v = np.stack([v[order[i][:k2]].mean(0) for i in range(n)])
    d = np.zeros((n, n))
    for i in range(n):
        for j in range(n):
            s = np.minimum(v[i], v[j]).sum()
            d[i, j] = max(0.0, 1 - s / (2 - s))
    return d


def dbscan(distances, eps, min_samples):
    """Labels by growing one cluster after the other from its first core row."""
    n = len(distances)
    near = [[j for j in range(n) if distances[i, j] <= eps] for i in range(n)]
    core = [len(near[i]) >= min_samples for i in range(n)]
    labels = [-1] * n
    cluster = 0
    for i in range(n):
        if labels[i] >= 0 or not core[i]:
            continue
        todo = [i]
        labels[i] = cluster
        while todo:
            row = todo.pop()
            for j in near[row]:
                if labels[j] < 0:
                    labels[j] = cluster
                    if core[j]:
                        todo.append(j)
        cluster += 1
    return np.array(labels)


def gap_to_ties(features, ks):
    """Smallest difference of squared distances at the ends of the lists."""
    x = np.asarray(features, np.float64)
    x = x / np.linalg.norm(x, axis=1, keepdims=True)
    squared = np.sort(2 - 2 * x @ x.T, axis=1)
    return min(
        ((squared[:, k] - squared[:, k - 1]).min() for k in ks if k < len(x)),
        default=1.0,
    )


def stretches(frames):
    """(first, last) of the parts of a track without long gaps."""
    steps = [b - a for a, b in pairwise(frames)]
    usual = max(1, sorted(steps)[(len(steps) - 1) // 2]) if steps else 1
    parts = [[frames[0], frames[0]]]
    for frame, step in zip(frames[1:], steps):
        if step > 4 * usual:
            parts.append([frame, frame])
        parts[-1][1] = frame
    return parts
