# SPDX-License-Identifier: Apache-2.0
"""Compiled kernels of the k-reciprocal Jaccard distance.

Every kernel treats a range of rows on its own and releases the GIL. ``stamp``
arrays say for which row a column was last seen, so that nothing of length N is
cleared between rows. All sums run in a fixed order whatever the ranges are:
the same input gives the same bits on any number of cores.
"""

import numpy as np

from mmreid_gcl.compiled import jit

from .features import dot


@jit
def grow(array, used, needed):
    """The array itself, or a copy with room for ``used + needed`` entries."""
    if used + needed <= len(array):
        return array
    larger = np.empty(max(2 * len(array), used + needed), array.dtype)
    larger[:used] = array[:used]
    return larger


@jit
def _contains(values, wanted):
    found = np.int32(0)
    for p in range(values.shape[0]):
        found |= np.int32(values[p] == wanted)
    return found != 0


@jit
def reciprocal_rows(neighbours, half, start, stop, flags):
    """Which neighbours (N, k), the row itself first, have the row among theirs.

    Writes ``flags`` (N, k) uint8: 1 where j of F(i) is in R(i), plus 2 where j of H(i),
    the first ``half``, is in R½(i).
    """
    k = neighbours.shape[1]
    for i in range(start, stop):
        for p in range(k):
            j = neighbours[i, p]
            flag = 0
            if p > 0 and j == i:
                pass  # a search that found too little filled the list up
            elif _contains(neighbours[j, :half], i):
                flag = 1 if p >= half else 3
            elif _contains(neighbours[j, half:], i):
                flag = 1
            flags[i, p] = flag


@jit
def expanded_weight_rows(neighbours, squared, flags, half, x, scale, start, stop):
    """Rows of V before query expansion: softmax of -d2 over R*(i).

    A pair in R* mostly has its distance from the search, in the list of one or the
    other (``neighbours`` and ``squared``, (N, k)); only the rest is computed, from
    ``x`` (N, C) and ``scale`` (N,), 1 / norm. ``flags`` are of :func:`reciprocal_rows`.
    Returns lengths (stop - start,) int32, columns int32 and values float32 of these
    rows.
    """
    n, k = neighbours.shape
    lengths = np.empty(stop - start, np.int32)
    columns = np.empty((stop - start) * 2 * k, np.int32)
    values = np.empty((stop - start) * 2 * k, np.float32)
    used = 0
    in_r = np.full(n, -1, np.int32)  # stamp of R(i)
    in_star = np.full(n, -1, np.int32)  # stamp of R*(i)
    for i in range(start, stop):
        columns = grow(columns, used, k + k * half)
        values = grow(values, used, k + k * half)
        begin = used
        for p in range(k):
            if flags[i, p] & 1:
                j = neighbours[i, p]
                in_r[j] = i
                in_star[j] = i
                columns[used] = j
                values[used] = squared[i, p]
                used += 1
        own_end = used
        for p in range(k):
            if not flags[i, p] & 1:
                continue
            c = neighbours[i, p]
            size = 0
            shared = 0
            for q in range(half):
                if flags[c, q] & 2:
                    size += 1
                    shared += in_r[neighbours[c, q]] == i
            if 3 * shared <= 2 * size:
                continue
            for q in range(half):
                j = neighbours[c, q]
                if flags[c, q] & 2 and in_star[j] != i:
                    in_star[j] = i
                    columns[used] = j
                    used += 1
        for e in range(own_end, used):
            j = columns[e]
            known = np.float32(-1)
            for p in range(k):
                if neighbours[i, p] == j:
                    known = squared[i, p]
                    break
            if known < 0:
                for p in range(k):
                    if neighbours[j, p] == i:
                        known = squared[j, p]
                        break
            if known < 0:
                product = dot(x[i], x[j]) * scale[i] * scale[j]
                known = max(np.float32(2) - np.float32(2) * product, np.float32(0))
            values[e] = known
        total = 0.0
        for e in range(begin, used):
            weight = np.exp(-np.float64(values[e]))
            values[e] = weight
            total += weight
        for e in range(begin, used):
            values[e] /= total
        lengths[i - start] = used - begin
    return lengths, columns[:used].copy(), values[:used].copy()


@jit
def mean_rows(neighbours, k2, indptr, columns, values, start, stop):
    """Rows of V after query expansion: means over the ``k2`` nearest rows.

    V is compressed by rows. Returns the same as :func:`expanded_weight_rows`.
    """
    n = neighbours.shape[0]
    lengths = np.empty(stop - start, np.int32)
    capacity = k2 * (indptr[stop] - indptr[start])
    out_columns = np.empty(capacity, np.int32)
    out_values = np.empty(capacity, np.float32)
    place = np.empty(n, np.int64)
    stamp = np.full(n, -1, np.int32)
    used = 0
    for i in range(start, stop):
        needed = 0
        for p in range(k2):
            j = neighbours[i, p]
            needed += indptr[j + 1] - indptr[j]
        out_columns = grow(out_columns, used, needed)
        out_values = grow(out_values, used, needed)
        begin = used
        for p in range(k2):
            j = neighbours[i, p]
            for e in range(indptr[j], indptr[j + 1]):
                c = columns[e]
                if stamp[c] == i:
                    out_values[place[c]] += values[e]
                else:
                    stamp[c] = i
                    place[c] = used
                    out_columns[used] = c
                    out_values[used] = values[e]
                    used += 1
        for e in range(begin, used):
            out_values[e] /= k2
        lengths[i - start] = used - begin
    return lengths, out_columns[:used].copy(), out_values[:used].copy()


@jit
def invert(indptr, columns, values, inverse_indptr, rows, inverse_values, place):
    """Inverted lists of a matrix of compressed rows, rows ascending in every list.

    Writes the last four: (N + 1,), and three of (nnz,), of which ``place`` says where
    each entry went.
    """
    n = len(indptr) - 1
    inverse_indptr[:] = 0
    for e in range(len(columns)):
        inverse_indptr[columns[e] + 1] += 1
    for c in range(n):
        inverse_indptr[c + 1] += inverse_indptr[c]
    cursor = inverse_indptr[:-1].copy()
    for i in range(n):
        for e in range(indptr[i], indptr[i + 1]):
            c = columns[e]
            q = cursor[c]
            cursor[c] = q + 1
            rows[q] = i
            inverse_values[q] = values[e]
            place[e] = q


@jit
def plus_min_rows(
    indptr,
    columns,
    values,
    place,
    inv_indptr,
    inv_rows,
    inv_values,
    copies,
    least,
    start,
    stop,
):
    """Pairs i < j with sum_n min(V(i, n), V(j, n)) >= ``least``.

    The sum is symmetric: of every inverted list only the part behind row i is read, and
    ``place`` of :func:`invert` says where that begins. Pairs of rows with the same
    number in ``copies`` (N,), -1 for none, are left out. Returns lengths (stop -
    start,) int32, columns int32, ascending in every row, and sums float32.
    """
    n = len(indptr) - 1
    lengths = np.empty(stop - start, np.int32)
    out_columns = np.empty(1024, np.int32)
    out_sums = np.empty(1024, np.float32)
    used = 0
    sums = np.zeros(n, np.float32)
    touched = np.empty(n, np.int32)
    for i in range(start, stop):
        count = 0
        for e in range(indptr[i], indptr[i + 1]):
            own = values[e]
            for q in range(place[e] + 1, inv_indptr[columns[e] + 1]):
                j = inv_rows[q]
                before = sums[j]
                if before == 0:
                    touched[count] = j
                    count += 1
                sums[j] = before + min(own, inv_values[q])
        kept = 0
        for t in range(count):
            j = touched[t]
            if sums[j] >= least and (copies[i] < 0 or copies[j] != copies[i]):
                touched[kept] = j
                kept += 1
            else:
                sums[j] = 0
        out_columns = grow(out_columns, used, kept)
        out_sums = grow(out_sums, used, kept)
        touched[:kept].sort()
        for t in range(kept):
            j = touched[t]
            out_columns[used] = j
            out_sums[used] = sums[j]
            sums[j] = 0
            used += 1
        lengths[i - start] = kept
    return lengths, out_columns[:used].copy(), out_sums[:used].copy()


@jit
def mirror(upper_indptr, upper_columns, upper_values, indptr, columns, values):
    """A symmetric matrix with zero diagonal from its strict upper triangle.

    Columns ascend in every row, before and after. Writes the last three: (N + 1,) and
    (2 nnz + N,).
    """
    n = len(upper_indptr) - 1
    indptr[:] = 0
    for i in range(n):
        indptr[i + 1] += 1 + upper_indptr[i + 1] - upper_indptr[i]
        for e in range(upper_indptr[i], upper_indptr[i + 1]):
            indptr[upper_columns[e] + 1] += 1
    for i in range(n):
        indptr[i + 1] += indptr[i]
    cursor = indptr[:-1].copy()
    # Rows come in ascending order: row j gets its entries left of the diagonal
    # from all rows i < j before its own turn.
    for i in range(n):
        q = cursor[i]
        columns[q] = i
        values[q] = 0
        q += 1
        for e in range(upper_indptr[i], upper_indptr[i + 1]):
            j = upper_columns[e]
            columns[q] = j
            values[q] = upper_values[e]
            q += 1
            p = cursor[j]
            columns[p] = i
            values[p] = upper_values[e]
            cursor[j] = p + 1
        cursor[i] = q
