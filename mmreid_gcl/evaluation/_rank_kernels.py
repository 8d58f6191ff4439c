# SPDX-License-Identifier: Apache-2.0
"""Ranks of matches by counting, compiled at first use (numba)."""

from __future__ import annotations

import numpy as np

from mmreid_gcl.compiled import jit


# These two are the whole cost. Each is one loop over one slice with a 32-bit
# counter because in that form alone the compiler fills whole vectors with it.
@jit
def _count_greater_equal(values, threshold):
    count = np.int32(0)
    for i in range(values.size):
        count = np.int32(count + (values[i] >= threshold))
    return count


@jit
def _count_greater(values, threshold):
    count = np.int32(0)
    for i in range(values.size):
        count = np.int32(count + (values[i] > threshold))
    return count


@jit
def rank_rows(similarity, order, bounds, offsets, ranks, first, step):
    """Ranks of the matches of rows ``first``, ``first + step``, ... of similarities.

    ``similarity`` is (n, G), ``order`` (G,) and ``bounds`` (n, 4) are of an
    ``IdentityIndex``. A row's ranks begin at ``offsets[row]`` of ``ranks``, int64,
    written.
    """
    for i in range(first, similarity.shape[0], step):
        row = similarity[i]
        begin, ignored_begin, ignored_end, end = bounds[i]
        out = offsets[i]
        for position in range(begin, end):
            if ignored_begin <= position < ignored_end:
                continue
            match = order[position]
            value = row[match]
            # Before the match equal values rank ahead of it, after it they
            # do not: ties are settled by gallery index.
            rank = np.int64(1)
            rank += _count_greater_equal(row[:match], value)
            rank += _count_greater(row[match + 1 :], value)
            for other in range(ignored_begin, ignored_end):
                ignored = order[other]
                if row[ignored] > value or (row[ignored] == value and ignored < match):
                    rank -= 1
            ranks[out] = rank
            out += 1


@jit
def plus_min_rows(
    rows,
    row_starts,
    row_columns,
    row_values,
    column_starts,
    column_rows,
    column_values,
    out,
    first,
    step,
):
    """Rows ``first``, ``first + step``, ... of a plus-min product A * B^T.

    A has compressed rows, of which ``rows`` (n,) are done, B compressed columns.
    ``out`` (n, rows of B), zeros, gets ``sum_c min(A[rows[i], c], B[j, c])`` at (i, j).
    """
    for i in range(first, rows.size, step):
        row = rows[i]
        for a in range(row_starts[row], row_starts[row + 1]):
            column = row_columns[a]
            value = row_values[a]
            for b in range(column_starts[column], column_starts[column + 1]):
                out[i, column_rows[b]] += min(value, column_values[b])
