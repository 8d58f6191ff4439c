# SPDX-License-Identifier: Apache-2.0
"""What a similarity means: probabilities, and a threshold for a false-match rate.

Everything is measured on images whose people are known, or taken for known: labels,
clusters, tracks. A threshold holds for the model whose embeddings it was made of.

Intervals are percentiles of a bootstrap over *people*. Pairs share images and people,
so they are far from independent: an interval of Clopper and Pearson or of Wilson over
pairs would be much too narrow.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np

#: What the false matches are counted over.
SEARCH, PAIR = 'search', 'pair'
#: Which pairs of images count, by their cameras.
ACROSS, WITHIN, ALL = 'across', 'within', 'all'
_BLOCK = 1024


@dataclass(frozen=True, eq=False)
class Pairs:
    """Pairs of images and how similar they are."""

    similarity: np.ndarray  #: (M,) float32
    same: np.ndarray  #: (M,) bool, of one person
    across: np.ndarray  #: (M,) bool, from two cameras
    people: np.ndarray  #: (M, 2) int64, whose images they are

    def select(self, cameras: str) -> Pairs:
        """Those ``'across'`` cameras, ``'within'`` one, or ``'all'``."""
        if cameras == ALL:
            return self
        keep = self.across == (cameras == ACROSS)
        return Pairs(
            self.similarity[keep], self.same[keep], self.across[keep], self.people[keep]
        )


@dataclass(frozen=True)
class Calibration:
    """A threshold and a map to probabilities, as plain numbers."""

    threshold: float  #: Similarities from here on are matches
    #: Share of the searches for somebody who is not there ('search'), or of the pairs
    #: of different people ('pair'), that reach the threshold
    rate: float
    over: str  #: 'search' or 'pair'
    cameras: str  #: As `among` of :func:`calibrate`
    interval: list[float]  #: Lower and upper end for the threshold
    confidence: float  #: Of the intervals, such as 0.95
    #: Share of the searches for somebody who is there that name the right one, or of
    #: the pairs of one person, at this threshold
    hits: float
    hits_interval: list[float]  #: Lower and upper end for that share
    people: int  #: How many they were
    images: int  #: And of how many images, in all cameras
    prior: float  #: Probability that a pair is of one person before looking at it
    method: str  #: 'isotonic' or 'logistic'
    #: Similarities and the log-odds of a logistic map at them; or the probabilities of
    #: an isotonic one, between which it is linear
    x: list[float]
    y: list[float]
    model_hash: str = ''  #: Of the model that made the embeddings

    def probability(self, similarity: np.ndarray | Sequence[float]) -> np.ndarray:
        """Probabilities that pairs of such similarities are of one person."""
        similarity = np.asarray(similarity, dtype=np.float64)
        if self.method == 'isotonic':
            return np.interp(similarity, self.x, self.y)
        slope = (self.y[1] - self.y[0]) / (self.x[1] - self.x[0])
        odds = self.y[0] + slope * (similarity - self.x[0])
        return 1 / (1 + np.exp(-np.clip(odds, -700, 700)))

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers and texts, for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(
        cls, values: Mapping[str, Any], name: str = 'calibration'
    ) -> Calibration:
        """Read and check what :meth:`to_dict` gave.

        A ``ValueError`` that begins with ``name`` if something is missing, of another
        kind or out of its range.
        """
        known = {field.name: field.type for field in fields(cls)}
        if not isinstance(values, Mapping) or set(values) != set(known):
            raise ValueError(
                f'{name}: expected the keys {", ".join(known)}. Calibrate again.'
            )
        for key, kind in known.items():
            if not _is(values[key], str(kind)):
                raise ValueError(f'{name}: {key!r} must be {kind}. Calibrate again.')
        found = cls(**values)
        lengths = len(found.interval), len(found.hits_interval)
        good = (
            lengths == (2, 2)
            and found.over in (SEARCH, PAIR)
            and found.cameras in (ACROSS, WITHIN, ALL)
            and found.method in ('isotonic', 'logistic')
            and len(found.x) == len(found.y) >= (2 if found.method == 'logistic' else 1)
            and all(a < b for a, b in zip(found.x, found.x[1:]))
        )
        if not good:
            raise ValueError(f'{name}: it contradicts itself. Calibrate again.')
        return found


def _is(value: Any, kind: str) -> bool:
    if kind == 'str':
        return isinstance(value, str)
    if kind == 'int':
        return type(value) is int
    numbers = value if kind == 'list[float]' else [value]
    return isinstance(numbers, list) and all(
        type(number) in (int, float) and math.isfinite(number) for number in numbers
    )


def similarity_pairs(
    features: np.ndarray,
    people: np.ndarray,
    cameras: np.ndarray,
    max_pairs: int = 1_000_000,
    seed: int = 0,
) -> Pairs:
    """Pairs of one person and of different people.

    Args:
        features (np.ndarray): (N, C), unit length.
        people (np.ndarray): (N,) int64; -1 is not known, and in no pair.
        cameras (np.ndarray): (N,), numbers or names.
        max_pairs (int): Of either kind; of more, so many are drawn. Defaults to
            1,000,000.
        seed (int): For that. Defaults to 0.

    Returns:
        Pairs: First those of one person, then the others.

    Raises:
        ValueError: If there are no two people, or nobody has two images.
    """
    rng = np.random.default_rng(seed)
    known = np.flatnonzero(people >= 0)
    codes = np.unique(people[known], return_inverse=True)[1]
    sizes = np.bincount(codes)
    if len(sizes) < 2 or sizes.max() < 2:
        raise ValueError(
            f'Calibration needs two people at least and somebody with two images; '
            f'{len(known):,} images of {len(sizes):,} people are known. Label more, or '
            'give clusters or tracks.'
        )
    order = np.argsort(codes, kind='stable')
    begins = np.cumsum(sizes) - sizes
    pairs_of = sizes * (sizes - 1) // 2
    if pairs_of.sum() <= max_pairs:
        parts = [np.stack(np.triu_indices(n, 1), 1) for n in sizes]
        inside = np.concatenate([part + b for part, b in zip(parts, begins)])
    else:
        drawn = rng.choice(len(sizes), max_pairs, p=pairs_of / pairs_of.sum())
        first = (rng.random(max_pairs) * sizes[drawn]).astype(np.int64)
        second = (rng.random(max_pairs) * (sizes[drawn] - 1)).astype(np.int64)
        second += second >= first
        inside = np.stack([first, second], 1) + begins[drawn, None]
    count = len(known)
    if count * (count - 1) // 2 - pairs_of.sum() <= max_pairs:
        outside = np.stack(np.triu_indices(count, 1), 1)
    else:
        outside = np.empty((0, 2), np.int64)
        while len(outside) < max_pairs:
            more = rng.integers(count, size=(2 * max_pairs, 2))
            more = more[codes[order[more[:, 0]]] != codes[order[more[:, 1]]]]
            outside = np.concatenate([outside, more])[:max_pairs]
    pairs = order[np.concatenate([inside, outside])]
    whose = codes[pairs]
    same = whose[:, 0] == whose[:, 1]
    keep = same == (np.arange(len(pairs)) < len(inside))  # triu has both kinds
    pairs, whose, same = pairs[keep], whose[keep], same[keep]
    rows = known[pairs]
    similarity = np.empty(len(rows), np.float32)
    for start in range(0, len(rows), 65536):
        a, b = features[rows[start : start + 65536]].transpose(1, 0, 2)
        similarity[start : start + 65536] = np.einsum('ij,ij->i', a, b)
    across = cameras[rows[:, 0]] != cameras[rows[:, 1]]
    return Pairs(similarity, same, across, whose)


@dataclass(frozen=True, eq=False)
class Searches:
    """Every image as a query, once without its person in the gallery, once with."""

    alarm: np.ndarray  #: (n,) best similarity to somebody else
    hit: np.ndarray  #: (n,) best one to an own image, NaN if there is none
    people: np.ndarray  #: (n,) int64, whose images they are


def searches(
    features: np.ndarray, people: np.ndarray, cameras: np.ndarray, among: str = ACROSS
) -> Searches:
    """Search with each of N images among the others.

    Args:
        features (np.ndarray): (N, C), unit length.
        people (np.ndarray): (N,) int64; those of -1 are left out.
        cameras (np.ndarray): (N,), numbers or names.
        among (str): Own images are looked for 'across' cameras, 'within' the query's,
            or in 'all'; those of others in all, if 'within' in the query's alone.

    Returns:
        Searches: Of the images that there is somebody else to compare with.
    """
    known = people >= 0
    features = features[known]
    codes = np.unique(people[known], return_inverse=True)[1]
    cams = np.unique(cameras[known], return_inverse=True)[1]
    count = len(codes)
    alarm, hit = np.full(count, -np.inf), np.full(count, -np.inf)
    for start in range(0, count, _BLOCK):
        part = slice(start, min(start + _BLOCK, count))
        similarity = features[part] @ features.T
        counts = np.ones(similarity.shape, dtype=bool)
        if among != ALL:
            counts = (cams[part, None] != cams) == (among == ACROSS)
        same = codes[part, None] == codes
        others = ~same & counts if among == WITHIN else ~same
        own = counts & same
        own[np.arange(len(own)), np.arange(part.start, part.stop)] = False
        alarm[part] = np.where(others, similarity, -np.inf).max(axis=1)
        hit[part] = np.where(own, similarity, -np.inf).max(axis=1)
    able = ~np.isinf(alarm)
    return Searches(
        alarm[able], np.where(np.isinf(hit), np.nan, hit)[able], codes[able]
    )


def threshold_at(similarity: np.ndarray, rate: float, weights: np.ndarray) -> float:
    """The smallest threshold that at most the share ``rate``, below 1, reaches.

    Of (M,) similarities, sorted from the largest on, with (M,) ``weights``.
    """
    reached = np.cumsum(weights)
    allowed = rate * reached[-1] * (1 + 1e-12)
    beyond = similarity[np.searchsorted(reached, allowed, 'right')]
    return float(np.nextafter(np.float64(beyond), np.inf))


def calibrate(
    features: np.ndarray,
    people: np.ndarray,
    cameras: np.ndarray,
    rate: float = 0.01,
    over: str = SEARCH,
    among: str = ACROSS,
    method: str = 'isotonic',
    prior: float = 0.5,
    confidence: float = 0.95,
    resamples: int = 500,
    seed: int = 0,
    model_hash: str = '',
) -> tuple[Calibration, Pairs]:
    """A threshold for a false-match rate, and probabilities.

    Args:
        features (np.ndarray): (N, C), unit length.
        people (np.ndarray): (N,) int64 labels, clusters or tracks; -1: not known.
        cameras (np.ndarray): (N,), numbers or names.
        rate (float): Wanted false-match rate. Defaults to 0.01.
        over (str): Of what. 'search', the default: of searches for somebody who is not
            there, in a gallery as large as this one. 'pair': of pairs of images, of
            which a search compares many.
        among (str): Count pairs 'across' cameras, the default, 'within' one, or
            'all'. For 'search' that is where somebody who is there must be found;
            somebody who is not is searched for among all images of others, in all
            cameras. 'within' is for people who are known in one camera alone, as by
            tracks: both searches are in the query's camera, and of K cameras each has
            on average the K-th part of the rate.
        method (str): Of the map to probabilities, 'isotonic' or 'logistic'. Defaults
            to 'isotonic'.
        prior (float): Probability that a pair is of one person before its similarity
            is known. Defaults to 0.5: even odds.
        confidence (float): Of the intervals. Defaults to 0.95.
        resamples (int): Of the bootstrap over people. Defaults to 500.
        seed (int): Of all that is drawn. Defaults to 0.
        model_hash (str): Kept in the result.

    Returns:
        tuple[Calibration, Pairs]: And the pairs, for a figure.

    Raises:
        ValueError: If a setting is out of its range, or people and images are too few
            for the rate.
    """
    _check(rate, over, among, method, prior, confidence, resamples)
    features = np.asarray(features, dtype=np.float32)
    people, cameras = np.asarray(people), np.asarray(cameras)
    pairs = similarity_pairs(features, people, cameras, seed=seed)
    chosen = pairs.select(among)
    x, y = probability_map(chosen.similarity, chosen.same, method, prior)
    if over == PAIR:
        order = np.argsort(-chosen.similarity, kind='stable')
        ranked = chosen.similarity[order], chosen.same[order], chosen.people[order]
        statistic = _pair_statistic(*ranked, rate)
        tries, parts = int((~chosen.same).sum()), 1
    else:
        found = searches(features, people, cameras, among)
        parts = len(np.unique(cameras[people >= 0])) if among == WITHIN else 1
        statistic = _search_statistic(found, rate / parts)
        tries = len(found.alarm)
    needed = math.ceil(parts / rate - 1e-9)
    if tries < needed:
        raise ValueError(
            f'A rate of {rate:g} cannot be measured on {tries:,} '
            f'{"pairs of different people" if over == PAIR else "searches"} '
            f'({among}): at least {needed:,} are needed. Give more crops, or a larger '
            'rate.'
        )
    count = int(pairs.people.max()) + 1
    threshold, hits = statistic(np.ones(count))
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(count, np.full(count, 1 / count), size=resamples)
    spread = np.array([statistic(weights.astype(np.float64)) for weights in drawn])
    tail = (1 - confidence) / 2
    low, high = np.nanquantile(spread, [tail, 1 - tail], axis=0)
    return Calibration(
        threshold=threshold,
        rate=float(rate),
        over=over,
        cameras=among,
        interval=[float(low[0]), float(high[0])],
        confidence=float(confidence),
        hits=hits,
        hits_interval=[float(low[1]), float(high[1])],
        people=count,
        images=int((people >= 0).sum()),
        prior=float(prior),
        method=method,
        x=x,
        y=y,
        model_hash=model_hash,
    ), pairs


def _check(rate, over, among, method, prior, confidence, resamples) -> None:
    for name, value in (('rate', rate), ('prior', prior), ('confidence', confidence)):
        if not 0 < value < 1:
            raise ValueError(
                f'{name} must be more than 0 and less than 1, got {value}.'
            )
    for name, value, known in (
        ('over', over, (SEARCH, PAIR)),
        ('among', among, (ACROSS, WITHIN, ALL)),
        ('method', method, ('isotonic', 'logistic')),
    ):
        if value not in known:
            raise ValueError(f'{name} must be one of {known}, got {value!r}.')
    if resamples < 1:
        raise ValueError(f'resamples must be at least 1, got {resamples}.')


Statistic = Callable[[np.ndarray], tuple[float, float]]


def _pair_statistic(
    similarity: np.ndarray, same: np.ndarray, people: np.ndarray, rate: float
) -> Statistic:
    """Threshold and share of true pairs, if person p is there ``weights[p]`` times."""
    others, own = similarity[~same], similarity[same]
    whose, owner = people[~same], people[same][:, 0]

    def statistic(weights: np.ndarray) -> tuple[float, float]:
        w = weights[whose[:, 0]] * weights[whose[:, 1]]
        v = weights[owner]
        if not w.any() or not v.any():  # few people, one drawn throughout
            return np.nan, np.nan
        threshold = threshold_at(others, rate, w)
        return threshold, float(v[own >= threshold].sum() / v.sum())

    return statistic


def _search_statistic(found: Searches, rate: float) -> Statistic:
    order = np.argsort(-found.alarm, kind='stable')
    alarm, whose = found.alarm[order], found.people[order]
    there = ~np.isnan(found.hit)
    hit, other, owner = found.hit[there], found.alarm[there], found.people[there]

    def statistic(weights: np.ndarray) -> tuple[float, float]:
        w, v = weights[whose], weights[owner]
        if not w.any() or not v.any():
            return np.nan, np.nan
        threshold = threshold_at(alarm, rate, w)
        right = (hit >= threshold) & (hit > other)
        return threshold, float(v[right].sum() / v.sum())

    return statistic


def probability_map(
    similarity: np.ndarray, same: np.ndarray, method: str, prior: float = 0.5
) -> tuple[list[float], list[float]]:
    """The knots ``x`` and ``y`` of a :class:`Calibration`.

    Of (M,) similarities of pairs and whether they are of one person. Pairs are weighed
    so that the share of the latter is ``prior``. A ``ValueError`` without both kinds.
    """
    total = int(same.sum()), int((~same).sum())
    if not all(total):
        raise ValueError(
            f'{total[0]:,} pairs of one person and {total[1]:,} of different people: '
            'both are needed. Count other pairs (across cameras, within one, all), or '
            'label people whom several cameras saw.'
        )
    weights = np.where(same, prior / total[0], (1 - prior) / total[1]) * len(same)
    if method == 'isotonic':
        from sklearn.isotonic import IsotonicRegression

        model = IsotonicRegression(y_min=0, y_max=1, out_of_bounds='clip')
        model.fit(similarity.astype(np.float64), same.astype(float), weights)
        return model.X_thresholds_.tolist(), model.y_thresholds_.tolist()
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression()
    model.fit(similarity[:, None].astype(np.float64), same, weights)
    odds = model.decision_function([[-1.0], [1.0]])
    return [-1.0, 1.0], odds.tolist()
