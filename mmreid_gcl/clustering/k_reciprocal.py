# SPDX-License-Identifier: Apache-2.0
"""The k-reciprocal Jaccard distance as sparse matrix algebra.

Zhong et al., *Re-ranking Person Re-identification with k-reciprocal Encoding*,
CVPR 2017, in the convention under which public unsupervised re-ID code tuned
its DBSCAN radius of 0.6. No N x N array is made: memory is O(N (C + entries of
V in a row)).
"""

from functools import partial

import numpy as np
import scipy.sparse as sp

from mmreid_gcl.parallel import map_row_ranges

from . import _kernels
from .features import Features, prepare_features
from .knn import squared_knn


class JaccardGraph(sp.csr_array):
    """Distances, and which pairs of exact copies are not stored.

    Attributes:
        copies (np.ndarray | None): (N,) int32. Rows of one number >= 0 are at the
            distance :attr:`copy_distances` of that number from each other; -1: all
            their pairs are stored. None: all pairs of all rows are.
        copy_distances (np.ndarray): float32.
    """

    copies: np.ndarray | None = None
    copy_distances: np.ndarray | None = None


def representatives(distances: sp.csr_array, numbers: np.ndarray) -> np.ndarray:
    """(N,) rows that stand for the rows of a :class:`JaccardGraph`.

    For copies of one of ``numbers`` it is the first of that number, for all others
    the row itself.
    """
    rows = np.arange(distances.shape[0])
    for number in numbers:
        same = np.flatnonzero(distances.copies == number)
        rows[same] = same[0]
    return rows


def half_neighbourhood(k1: int) -> int:
    """Length of the short lists H: ``round(k1 / 2) + 1``.

    ``round`` is Python's and numpy's, halves to the even number: 30 gives 16.
    """
    return round(k1 / 2) + 1


def k_reciprocal_jaccard(
    features,
    k1: int = 30,
    k2: int = 6,
    max_distance: float = 0.6,
    knn: dict | tuple | None = None,
    max_copies: int | None = None,
) -> sp.csr_array:
    """All k-reciprocal Jaccard distances up to ``max_distance``.

    With F(i) the k1 and H(i) the round(k1/2) + 1 nearest neighbours of i by
    Euclidean distance of unit vectors, i itself counted as one and always
    among them (also if it has more than k1 exact copies), and of equally
    distant ones the smaller index:

    - ``R(i) = {j in F(i): i in F(j)}``; ``R½(i)`` the same with H.
    - ``R*(i) = R(i) ∪ ⋃ {R½(c): c in R(i), |R½(c) ∩ R(i)| > 2/3 |R½(c)|}``.
    - ``V(i, .)`` = softmax over R*(i) of ``-(2 - 2 x_i.x_j)``, 0 elsewhere; then
      the mean of V(j, .) over the k2 nearest j of i, i included.
    - ``s_ij = Σ_n min(V(i, n), V(j, n))``,
      ``d_ij = max(0, 1 - s_ij / (2 - s_ij))``.

    Args:
        features (np.ndarray | np.memmap | torch.Tensor): (N, C), floating-point;
            scaled to unit length here. A contiguous float32 array is not copied.
        k1 (int): Neighbours to encode, at least 1; all N if there are fewer.
            Defaults to 30.
        k2 (int): Neighbours to average encodings over, at least 1; 1 leaves them
            as they are. Defaults to 6.
        max_distance (float): Largest distance to keep, in (0, 1): at 1 all N²
            pairs would be in. Defaults to 0.6.
        knn (dict | tuple, optional): Options for
            :func:`~mmreid_gcl.clustering.knn_search`, such as
            ``dict(backend='torch', device='cuda')``; or its result for
            unit-length features with k >= max(k1, k2). Defaults to
            ``dict(backend='auto')``.
        max_copies (int, optional): Of images with many exact copies, store pairs
            with the first ``max_copies`` copies alone, so that their number does not
            count squared; see :class:`JaccardGraph`. With at least ``min_samples``
            of them DBSCAN's labels are the same: all copies stay core points, and
            connected by the first. Defaults to None: all pairs.

    Returns:
        scipy.sparse.csr_array: (N, N) float32, symmetric, columns ascending; a
        :class:`JaccardGraph`. Holds every distance <= max_distance, but for
        ``max_copies``. The diagonal is there with explicit zeros, as may be other
        zeros: what is *not* stored is far.

    Raises:
        TypeError: If features are not floating-point arrays or tensors.
        ValueError: If k1, k2 or max_distance is out of its range, or a feature
            is a zero vector or holds NaN or Inf; names the first such row.

    Examples:
        >>> distances = k_reciprocal_jaccard(features, k1=30, k2=6)
        >>> distances.shape, distances.dtype
        ((12936, 12936), dtype('float32'))
    """
    check_parameters(k1, k2, max_distance)
    features = prepare_features(features, unit=True)
    k = max(k1, k2)
    if isinstance(knn, tuple):
        squared, neighbours = _given(knn, len(features), k)
    else:
        squared, neighbours = squared_knn(features, k, **(knn or {}))
    encoding = encode(features, squared, neighbours, k1, k2)
    return jaccard_graph(encoding, max_distance, max_copies)


def encode(
    features: Features, squared: np.ndarray, neighbours: np.ndarray, k1: int, k2: int
) -> sp.csr_array:
    """The encodings V of all rows, query expansion included.

    Args:
        features (Features): N rows of unit length.
        squared (np.ndarray): (N, k) float32 squared distances to neighbours.
        neighbours (np.ndarray): (N, k) int32, the row itself first.
        k1 (int): Neighbours to encode.
        k2 (int): Neighbours to average over.

    Returns:
        scipy.sparse.csr_array: (N, N) float32, rows sum to 1; columns in a row
        are in no particular order.
    """
    n, k = neighbours.shape
    half = min(half_neighbourhood(k1), k)
    k1, k2 = min(k1, k), min(k2, k)
    f = np.ascontiguousarray(neighbours[:, :k1])
    f_squared = np.ascontiguousarray(squared[:, :k1])
    flags = np.empty(f.shape, np.uint8)
    map_row_ranges(
        lambda a, b: _kernels.reciprocal_rows(f, half, a, b, flags), n, 'Reciprocity'
    )
    kernel = partial(
        _kernels.expanded_weight_rows,
        f,
        f_squared,
        flags,
        half,
        features.x,
        features.scale,
    )
    weights = _assemble(map_row_ranges(kernel, n, 'Expansion and weights'), n)
    if k2 == 1:
        return weights
    kernel = partial(
        _kernels.mean_rows,
        neighbours,
        k2,
        weights.indptr,
        weights.indices,
        weights.data,
    )
    return _assemble(map_row_ranges(kernel, n, 'Query expansion'), n)


def jaccard_graph(
    encoding: sp.csr_array, max_distance: float, max_copies: int | None = None
) -> sp.csr_array:
    """Jaccard distances up to a limit: a product over the plus-min semiring.

    Args:
        encoding (scipy.sparse.csr_array): (N, N) float32, V.
        max_distance (float): Largest distance to keep, in (0, 1).
        max_copies (int, optional): As :func:`k_reciprocal_jaccard`.

    Returns:
        scipy.sparse.csr_array: As :func:`k_reciprocal_jaccard`.
    """
    n = encoding.shape[0]
    indptr, columns, values = encoding.indptr, encoding.indices, encoding.data
    inv_indptr = np.empty_like(indptr)
    inv_rows, inv_values = np.empty_like(columns), np.empty_like(values)
    place = np.empty(len(columns), indptr.dtype)
    copies, firsts = _find_copies(encoding, max_copies)
    _kernels.invert(indptr, columns, values, inv_indptr, inv_rows, inv_values, place)
    # d <= limit  <=>  s >= 2 (1 - limit) / (2 - limit); a little below, for the
    # distances themselves decide.
    least = np.float32(2 * (1 - max_distance) / (2 - max_distance) - 1e-6)
    kernel = partial(
        _kernels.plus_min_rows,
        indptr,
        columns,
        values,
        place,
        inv_indptr,
        inv_rows,
        inv_values,
        copies,
        least,
    )
    upper = _assemble(map_row_ranges(kernel, n, 'Jaccard distances'), n)
    sums = upper.data.astype(np.float64)
    upper.data = np.maximum(0, 1 - sums / (2 - sums)).astype(np.float32)
    far = upper.data > np.float32(max_distance)
    if far.any():
        upper = _drop(upper, far)
    nnz = 2 * upper.nnz + n
    dtype = _index_dtype(nnz)
    indptr = np.empty(n + 1, dtype)
    columns, values = np.empty(nnz, dtype), np.empty(nnz, np.float32)
    _kernels.mirror(upper.indptr, upper.indices, upper.data, indptr, columns, values)
    graph = JaccardGraph((values, columns, indptr), shape=(n, n), copy=False)
    if firsts:
        graph.copies = copies
        # copies are as far from one that has all its pairs; not stored is far
        stored = (dict(zip(*_row(graph, first))) for first, _ in firsts)
        found = [row.get(other, 1) for row, (_, other) in zip(stored, firsts)]
        graph.copy_distances = np.array(found, np.float32)
    return graph


def _row(matrix: sp.csr_array, i: int) -> tuple[np.ndarray, np.ndarray]:
    part = slice(matrix.indptr[i], matrix.indptr[i + 1])
    return matrix.indices[part], matrix.data[part]


def _find_copies(
    encoding: sp.csr_array, max_copies: int | None
) -> tuple[np.ndarray, list[tuple[int, int]]]:
    """Rows that have the same encoding, but for an entry for themselves.

    Only if no other row has such an entry: then all sums over pairs of them have the
    same terms in the same order, and so the same bits. Gives (N,) int32 numbers of the
    copies behind the first ``max_copies``, -1 for all other rows; for each number the
    first copy and one of those behind.
    """
    n = encoding.shape[0]
    copies = np.full(n, -1, np.int32)
    firsts: list[tuple[int, int]] = []
    if max_copies is None:
        return copies, firsts
    alike: dict[tuple[bytes, bytes], list[int]] = {}
    for i in np.flatnonzero(np.bincount(encoding.indices, minlength=n) == 1).tolist():
        columns, values = _row(encoding, i)
        key = np.where(columns == i, -1, columns).tobytes(), values.tobytes()
        alike.setdefault(key, []).append(i)
    for rows in alike.values():
        if len(rows) > max_copies + 1:
            copies[rows[max_copies:]] = len(firsts)
            firsts.append((rows[0], rows[-1]))
    return copies, firsts


def check_parameters(k1: int, k2: int, max_distance: float) -> None:
    """Raise a ValueError if one of the parameters is out of its range."""
    for name, value in (('k1', k1), ('k2', k2)):
        whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
        if not whole or value < 1:
            raise ValueError(
                f'{name} must be a whole number of at least 1, got {value!r}'
            )
    if not 0 < max_distance < 1:
        raise ValueError(
            'max_distance (eps of a clusterer) must be in (0, 1), got '
            f'{max_distance!r}: Jaccard distances lie in [0, 1], and at 1 all pairs '
            'would be neighbours'
        )


def _given(knn: tuple, n: int, k: int) -> tuple[np.ndarray, np.ndarray]:
    distances, indices = (np.asarray(part) for part in knn)
    if distances.shape != indices.shape or indices.shape[0] != n:
        raise ValueError(
            f'knn must be (distances, indices), both (N, k) with N = {n}, got '
            f'{distances.shape} and {indices.shape}'
        )
    if indices.shape[1] < min(k, n):
        raise ValueError(
            f'knn has {indices.shape[1]} neighbours a row, max(k1, k2) = {k} needed'
        )
    if indices.size and not 0 <= indices.min() <= indices.max() < n:
        raise ValueError(
            f'knn names rows {indices.min()} to {indices.max()}; there are rows 0 to '
            f'{n - 1}'
        )
    if not np.array_equal(indices[:, 0], np.arange(n)):
        raise ValueError(
            'knn must list every row as its own first neighbour, as knn_search does'
        )
    squared = np.square(distances, dtype=np.float32)
    return np.ascontiguousarray(squared), indices.astype(np.int32)


def _index_dtype(nnz: int) -> type:
    return np.int32 if nnz < 2**31 else np.int64


def _csr(values, columns, indptr, n: int) -> sp.csr_array:
    return sp.csr_array((values, columns, indptr), shape=(n, n), copy=False)


def _assemble(parts: list, n: int) -> sp.csr_array:
    """Rows of a matrix from (lengths, columns, values) of ranges of them."""
    lengths = np.concatenate([part[0] for part in parts])
    nnz = int(lengths.sum(dtype=np.int64))
    dtype = _index_dtype(nnz)
    indptr = np.zeros(n + 1, dtype)
    np.cumsum(lengths, out=indptr[1:])
    columns, values = np.empty(nnz, dtype), np.empty(nnz, np.float32)
    at = 0
    for p, (_, part_columns, part_values) in enumerate(parts):
        columns[at : at + len(part_columns)] = part_columns
        values[at : at + len(part_values)] = part_values
        at += len(part_columns)
        parts[p] = None  # frees it: never two copies of everything
    return _csr(values, columns, indptr, n)


def _drop(matrix: sp.csr_array, far: np.ndarray) -> sp.csr_array:
    kept = np.concatenate([[0], np.cumsum(~far)])
    indptr = kept[matrix.indptr].astype(matrix.indptr.dtype)
    n = matrix.shape[0]
    return _csr(matrix.data[~far], matrix.indices[~far], indptr, n)
