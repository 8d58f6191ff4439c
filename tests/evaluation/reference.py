# SPDX-License-Identifier: Apache-2.0
"""The ranking written out in plain loops, from the text of the rules."""

import numpy as np


def reference_ranking(
    similarity, query_pids, query_camids, gallery_pids, gallery_camids, topk=(1, 5, 10)
):
    aps, inps, firsts = [], [], []
    for q in range(len(query_pids)):
        if query_pids[q] == -1:
            continue
        valid = [
            g
            for g in range(len(gallery_pids))
            if gallery_pids[g] != -1
            and not (
                gallery_pids[g] == query_pids[q]
                and gallery_camids[g] == query_camids[q]
            )
        ]
        # Python's sort is stable: equal similarities stay in gallery order.
        valid.sort(key=lambda g: -similarity[q][g])
        precisions, last, found = [], 0, 0
        for rank, g in enumerate(valid, start=1):
            if gallery_pids[g] == query_pids[q]:
                found += 1
                precisions.append(found / rank)
                last = rank
                if found == 1:
                    firsts.append(rank)
        if found:
            aps.append(sum(precisions) / found)
            inps.append(found / last)
    result = {'mAP': 100 * sum(aps) / len(aps), 'mINP': 100 * sum(inps) / len(inps)}
    for k in topk:
        result[f'R{k}'] = 100 * sum(rank <= k for rank in firsts) / len(firsts)
    return result


def reference_cosine(query, gallery):
    """(Q, G) cosines in float64, one dot product at a time."""
    query, gallery = np.asarray(query, np.float64), np.asarray(gallery, np.float64)
    result = np.zeros((len(query), len(gallery)))
    for i, a in enumerate(query):
        for j, b in enumerate(gallery):
            result[i, j] = a @ b / np.sqrt((a @ a) * (b @ b))
    return result


def exact_units(rng, num, channels=6):
    """Vectors with four entries of +-1/2: unit length, and cosines that are
    multiples of 1/4, exact in every float format and order of summation."""
    features = np.zeros((num, channels))
    for row in features:
        places = rng.choice(channels, 4, replace=False)
        row[places] = rng.choice([-0.5, 0.5], 4)
    return features


def random_problem(rng, queries, gallery, pids=5, cams=3, junk=0.1, channels=6):
    """A tie-heavy problem with junk on both sides: six arguments of
    ``evaluate_ranking``, in its order."""
    query_pids = rng.integers(0, pids, queries)
    gallery_pids = rng.integers(0, pids, gallery)
    query_pids[rng.random(queries) < junk] = -1
    gallery_pids[rng.random(gallery) < junk] = -1
    return (
        exact_units(rng, queries, channels),
        query_pids,
        rng.integers(0, cams, queries),
        exact_units(rng, gallery, channels),
        gallery_pids,
        rng.integers(0, cams, gallery),
    )
