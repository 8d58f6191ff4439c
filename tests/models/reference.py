# SPDX-License-Identifier: Apache-2.0
"""The equations of the paper, one number at a time, in Python floats.

Written from the text of the paper; nothing here imports the package.
"""

import math


def dot(a, b):
    return math.fsum(x * y for x, y in zip(a, b))


def unit(v):
    length = math.sqrt(dot(v, v))
    return [x / length for x in v]


def linear(weight, v):
    """W v, without a bias."""
    return [dot(row, v) for row in weight]


def batch_norm(rows, weight, bias, eps=1e-5, mean=None, var=None):
    """Batch norm of rows; with the rows' own statistics unless they are given."""
    count, width = len(rows), len(rows[0])
    out = [[0.0] * width for _ in rows]
    for c in range(width):
        column = [row[c] for row in rows]
        m = math.fsum(column) / count if mean is None else mean[c]
        if var is None:
            v = math.fsum((x - m) ** 2 for x in column) / count
        else:
            v = var[c]
        for i in range(count):
            out[i][c] = (column[i] - m) / math.sqrt(v + eps) * weight[c] + bias[c]
    return out


def attention(theta, phi, temperature):
    """Equations 1 and 2."""
    scores = []
    for t in theta:
        e = [math.exp(dot(t, p) * temperature) for p in phi]
        scores.append([x / math.fsum(e) for x in e])
    return scores


def relation_aware(nodes, scores):
    """Equations 3 and 4."""
    out = []
    for i, row in enumerate(scores):
        refined = [
            math.fsum(m * v[c] for m, v in zip(row, nodes))
            for c in range(len(nodes[i]))
        ]
        out.append(list(nodes[i]) + refined)
    return out


def members(labels, label):
    return [i for i, other in enumerate(labels) if other == label]


def hardest_first(queries, labels, label, centroid):
    """Queries of a cluster, the least similar first; equal ones by position."""
    mine = members(labels, label)
    return sorted(mine, key=lambda i: (dot(queries[i], centroid), i))


def minus_log_softmax(query, memory, temperature, label):
    logits = [dot(row, query) / temperature for row in memory]
    top = max(logits)
    total = math.fsum(math.exp(x - top) for x in logits)
    return top + math.log(total) - logits[label]


def selective_loss(queries, labels, memory, temperature, topk):
    """Equation 7, averaged over the clusters of the batch."""
    queries = [unit(q) for q in queries]
    clusters = sorted(set(labels))
    sums = []
    for label in clusters:
        chosen = hardest_first(queries, labels, label, memory[label])[:topk]
        sums.append(
            math.fsum(
                minus_log_softmax(queries[i], memory, temperature, label)
                for i in chosen
            )
        )
    return math.fsum(sums) / len(clusters)


def mean_loss(queries, labels, memory, temperature):
    """The baseline of table 2: the mean over all queries."""
    losses = [
        minus_log_softmax(unit(q), memory, temperature, label)
        for q, label in zip(queries, labels)
    ]
    return math.fsum(losses) / len(losses)


def move(centroid, query, momentum):
    """One step of equation 6, to unit length."""
    return unit([momentum * m + (1 - momentum) * q for m, q in zip(centroid, query)])


def selective_update(memory, queries, labels, momentum, topk):
    """Equation 6, with the memory as given ranking the queries."""
    queries = [unit(q) for q in queries]
    memory = [list(row) for row in memory]
    for label in set(labels):
        order = hardest_first(queries, labels, label, memory[label])
        for i in order[:topk]:
            memory[label] = move(memory[label], queries[i], momentum)
    return memory


def sequential_update(memory, queries, labels, momentum):
    """Every query moves its centroid, in the order of the batch."""
    memory = [list(row) for row in memory]
    for query, label in zip(queries, labels):
        memory[label] = move(memory[label], unit(query), momentum)
    return memory


def average_update(memory, queries, labels, momentum):
    queries = [unit(q) for q in queries]
    memory = [list(row) for row in memory]
    for label in set(labels):
        mine = members(labels, label)
        total = [math.fsum(column) for column in zip(*(queries[i] for i in mine))]
        mean = unit([x / len(mine) for x in total])
        memory[label] = move(memory[label], mean, momentum)
    return memory


def centroids(features, labels):
    """Memory initialisation: unit-length means of the clusters."""
    out = []
    for label in range(max(labels) + 1):
        mine = members(labels, label)
        out.append(
            unit(
                [
                    math.fsum(column) / len(mine)
                    for column in zip(*(features[i] for i in mine))
                ]
            )
        )
    return out
