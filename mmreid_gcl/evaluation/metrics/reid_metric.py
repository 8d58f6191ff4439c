# SPDX-License-Identifier: Apache-2.0
"""ReIDMetric: the ranking as a metric of mmengine's evaluator."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from mmengine.dist import all_gather_object, broadcast_object_list
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log
from torch import Tensor

from mmreid_gcl.processes import gather_rows, on_rank_zero
from mmreid_gcl.registry import METRICS

from ..expansion import average_query_expansion
from ..ground_truth import JUNK_PID
from ..open_set import FALSE_ALARMS
from ..ranking import evaluate_ranking, rank_from_similarity
from ..rerank import k_reciprocal_rerank
from ..tracks import track_means

_REQUIRED = ('pid', 'camid', 'is_query')


@METRICS.register_module()
class ReIDMetric(BaseMetric):
    """mAP, mINP and CMC of :func:`~mmreid_gcl.evaluation.evaluate_ranking`.

    A data sample brings its feature from the model and ``pid`` (int), ``camid``
    (int) and ``is_query`` (bool) from the data set, as meta information:
    ``dict(type='PackInputs', meta_keys=('pid', 'camid', 'is_query',
    'sample_idx'))``. Two more are read where present:

    - ``sample_idx`` (int, set by mmengine's ``BaseDataset``): puts the samples
      of several processes into order and drops duplicates, whatever the
      sampler. Without it, ``DefaultSampler(shuffle=False)`` is assumed.
    - ``dataset`` (str): name of the data set a sample comes from. With more
      than one, each is ranked on its own (``reid/<name>/mAP``, ...) and the
      plain names (``reid/mAP``, ...) are means over the data sets.

    With ``track_mean`` also ``track`` (int, -1: not known) is read.

    In distributed runs features are gathered as tensors, and the main process
    ranks while the others wait for the result.

    Args:
        feature_key (str): Where a data sample holds its feature, (C,). With
            mmpretrain's ``ImageClassifier``: 'pred_score'. Defaults to
            'feature'.
        topk (Sequence[int]): Ranks at which CMC is reported. Defaults to
            (1, 5, 10).
        rerank (dict, optional): Arguments of
            :func:`~mmreid_gcl.evaluation.k_reciprocal_rerank`, such as
            ``dict(k1=20, k2=6, lambda_value=0.3)``. Defaults to None: no
            re-ranking.
        query_expansion (int, optional): k of
            :func:`~mmreid_gcl.evaluation.average_query_expansion`, done before
            any re-ranking. Defaults to None: none.
        track_mean (bool): Rank tracks, not images: the images of a track in the query,
            and those in the gallery, become their mean
            (:func:`~mmreid_gcl.evaluation.track_means`) with the identity that most of
            them have. Defaults to False.
        open_set (bool): Report detection and identification rates as well:
            ``DIR@1%`` and ``DIR@0.1%`` are the shares of the queries with a match that
            find one first, above the threshold that 1 % and 0.1 % of the queries
            *without* a match reach. Defaults to False.
        collect_device (str): 'cpu', or 'gpu': features stay on the device of
            the model and are ranked there. Defaults to 'cpu'.
        prefix (str, optional): Prefix of the names. Defaults to 'reid'.

    Raises:
        TypeError: If rerank is neither None nor a dict.

    Examples:
        >>> val_evaluator = dict(type='mmreid_gcl.ReIDMetric')
        >>> default_hooks = dict(checkpoint=dict(save_best='reid/mAP'))
    """

    default_prefix = 'reid'
    results: list[dict]

    def __init__(
        self,
        feature_key: str = 'feature',
        topk: Sequence[int] = (1, 5, 10),
        rerank: dict | None = None,
        query_expansion: int | None = None,
        open_set: bool = False,
        collect_device: str = 'cpu',
        prefix: str | None = None,
        track_mean: bool = False,
    ) -> None:
        if collect_device not in ('cpu', 'gpu'):
            raise ValueError(
                f"collect_device must be 'cpu' or 'gpu', got {collect_device!r}."
            )
        if rerank is not None and not isinstance(rerank, dict):
            raise TypeError(
                'rerank must be None or a dict such as dict(k1=20, k2=6, '
                f'lambda_value=0.3), got {rerank!r}.'
            )
        super().__init__(collect_device=collect_device, prefix=prefix)
        self.feature_key = feature_key
        self.topk = tuple(topk)
        self.rerank = rerank
        self.query_expansion = query_expansion
        self.track_mean = track_mean
        self.false_alarms = FALSE_ALARMS if open_set else ()

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Keep the features and the meta information of one batch of the model."""
        if not data_samples:
            return
        for sample in data_samples:
            self._check(sample)
        features = [torch.as_tensor(s[self.feature_key]) for s in data_samples]
        features = torch.stack([feature.detach() for feature in features])
        if self.results and features.shape[1] != self.results[0]['features'].shape[1]:
            raise ValueError(
                f'ReIDMetric: {self.feature_key!r} has {features.shape[1]} channels, '
                f'before it had {self.results[0]["features"].shape[1]}.'
            )
        columns = [
            [
                *(int(s['pid']), int(s['camid']), int(s['is_query']), _sample_idx(s)),
                int(s.get('track', -1)),
            ]
            for s in data_samples
        ]
        self.results.append(
            dict(
                features=features.cpu() if self.collect_device == 'cpu' else features,
                columns=torch.tensor(columns, dtype=torch.int64),
                names=[str(s.get('dataset') or '') for s in data_samples],
            )
        )

    def evaluate(self, size: int) -> dict[str, float]:
        """Gather the samples of all processes and rank them on the main one.

        The result, names with prefix and values in percent, is the same on every
        process; so is the end, if the main one fails. ``size`` is the number of samples
        in the data set.
        """
        batches, self.results = self.results, []
        gathered = _gather(batches, self.collect_device)
        del batches

        def work() -> dict[str, float]:
            metrics = self.compute_metrics(_in_order(gathered, size))
            return {f'{self.prefix}/{name}': value for name, value in metrics.items()}

        outcome = [on_rank_zero(work)]
        broadcast_object_list(outcome)
        assert outcome[0] is not None  # rank 0's
        return outcome[0]

    def compute_metrics(self, results: list[dict]) -> dict[str, float]:
        """Rank batches of :meth:`process`, in the order of the data set, in percent.

        The list is emptied, to free memory early.
        """
        features, columns, names = _concatenate(results)
        results.clear()
        datasets = sorted(set(names))
        if len(datasets) < 2:
            return self._rank(features, columns)
        if '' in datasets:
            raise ValueError(
                f"ReIDMetric: samples of {datasets[1:]} name their 'dataset', others "
                "do not. Put 'dataset' into every sample's meta information."
            )
        names = np.array(names)
        metrics: dict[str, float] = {}
        for name in datasets:
            rows = torch.from_numpy(np.flatnonzero(names == name))
            try:
                part = self._rank(features[rows.to(features.device)], columns[rows])
            except ValueError as error:
                raise ValueError(f'Data set {name!r}: {error}') from error
            metrics.update({f'{name}/{key}': value for key, value in part.items()})
        means = {
            key: sum(metrics[f'{name}/{key}'] for name in datasets) / len(datasets)
            for key in part
        }
        return {**means, **metrics}

    def _rank(self, features: Tensor, columns: Tensor) -> dict[str, float]:
        if self.track_mean:
            features, columns = _by_track(features, columns)
        pids, camids, is_query = columns[:, :3].T
        is_query = is_query.bool()
        for wanted, kind in ((is_query, 'True'), (~is_query, 'False')):
            if not wanted.any():
                raise ValueError(
                    f'ReIDMetric: is_query is {kind} for none of the {len(pids)} '
                    'samples. The test data set must hold query and gallery, for '
                    "example with split='test'."
                )
        adapted = self.rerank is not None or bool(self.query_expansion)
        # Expansion and re-ranking look at the gallery without labels; evaluation
        # itself knows what to do with junk.
        in_gallery = ~is_query & (pids != JUNK_PID) if adapted else ~is_query
        query = features[is_query.to(features.device)]
        gallery = features[in_gallery.to(features.device)]
        del features
        query_ids = pids[is_query], camids[is_query]
        gallery_ids = pids[in_gallery], camids[in_gallery]
        if self.query_expansion:
            query = average_query_expansion(query, gallery, self.query_expansion)
        options: dict[str, Any] = dict(topk=self.topk, false_alarms=self.false_alarms)
        if self.rerank is None:
            return evaluate_ranking(query, *query_ids, gallery, *gallery_ids, **options)
        similarity = k_reciprocal_rerank(query, gallery, **self.rerank)
        return rank_from_similarity(similarity, *query_ids, *gallery_ids, **options)

    def _check(self, sample: dict) -> None:
        for key in (*_REQUIRED, *['track'] * self.track_mean):
            if key not in sample:
                raise KeyError(
                    f'ReIDMetric: a data sample has no {key!r}. Put it into the data '
                    "set's samples and into PackInputs(meta_keys=('pid', 'camid', "
                    "'is_query', 'sample_idx', 'track')) of the test pipeline."
                )
        if self.feature_key not in sample:
            raise KeyError(
                f'ReIDMetric: a data sample has no {self.feature_key!r}, only '
                f'{sorted(sample)}. Set feature_key to where the model puts its '
                "features ('pred_score' with mmpretrain's ImageClassifier)."
            )
        shape = tuple(np.shape(sample[self.feature_key]))
        if len(shape) != 1:
            raise ValueError(
                f'ReIDMetric: {self.feature_key!r} must be one vector per sample, '
                f'shape (C,), got {shape}.'
            )


def _by_track(features: Tensor, columns: Tensor) -> tuple[Tensor, Tensor]:
    """Means of tracks and their columns; query and gallery apart."""
    tracks = columns[:, 4].numpy()
    if (tracks < 0).all():
        raise ValueError(
            'ReIDMetric: track_mean needs tracks, and no sample has one (track is -1).'
        )
    apart = np.where(tracks < 0, -1, 2 * tracks + columns[:, 2].numpy())
    means, groups = track_means(features, apart)
    pairs, counts = np.unique(
        [groups, columns[:, 0].numpy()], axis=1, return_counts=True
    )
    pairs = pairs[:, np.lexsort((-counts, pairs[0]))]
    first = np.unique(pairs[0], return_index=True)[1]
    if len(first) < pairs.shape[1]:
        print_log(
            f'ReIDMetric: {(np.bincount(pairs[0]) > 1).sum():,} of {len(first):,} '
            'tracks have images of several identities; the most frequent counts.',
            'current',
            logging.WARNING,
        )
    of_tracks = columns[np.unique(groups, return_index=True)[1]]
    of_tracks[:, 0] = torch.from_numpy(pairs[1, first])
    return torch.as_tensor(means), of_tracks


def _sample_idx(sample: dict) -> int:
    index = sample.get('sample_idx')
    return -1 if index is None else int(index)


def _concatenate(batches: list[dict]) -> tuple[Tensor, Tensor, list[str]]:
    if not batches:
        raise ValueError(
            'ReIDMetric got no data samples. Is the test dataloader empty?'
        )
    return (
        torch.cat([batch['features'] for batch in batches]),
        torch.cat([batch['columns'] for batch in batches]),
        [name for batch in batches for name in batch['names']],
    )


def _gather(batches: list[dict], collect_device: str) -> dict:
    """The samples of all processes, process by process, on the main one."""
    head: dict[str, Any] = dict(count=0, channels=None, wide=False, names=[])
    if batches:
        features, columns, names = _concatenate(batches)
        batches.clear()
        head = dict(
            count=len(features),
            channels=features.shape[1],
            wide=features.dtype == torch.float64,
            names=sorted(set(names)),
        )
    heads = all_gather_object(head)
    counts = [other['count'] for other in heads]
    filled = [other for other in heads if other['count']]
    channels = {other['channels'] for other in filled}
    if not filled:
        return dict(counts=counts)
    if len(channels) > 1:  # on every process alike
        raise ValueError(
            f'ReIDMetric: features of {sorted(channels)} channels on different ranks.'
        )
    dtype = torch.float64 if any(other['wide'] for other in filled) else torch.float32
    datasets = sorted({name for other in filled for name in other['names']})
    if not head['count']:
        device = 'cpu' if collect_device == 'cpu' else torch.cuda.current_device()
        features = torch.empty((0, *channels), dtype=dtype, device=device)
        columns, names = torch.empty((0, 5), dtype=torch.int64), []
    codes = torch.tensor([datasets.index(name) for name in names], dtype=torch.int64)
    columns = torch.cat([columns, codes[:, None]], dim=1)
    return dict(
        counts=counts,
        features=gather_rows(features.to(dtype), counts),
        columns=gather_rows(columns, counts),
        datasets=datasets,
    )


def _in_order(gathered: dict, size: int) -> list[dict]:
    """What was gathered as one batch without duplicates."""
    if not any(gathered['counts']):
        return []
    features, columns = gathered.pop('features'), gathered.pop('columns').numpy()
    rows = dataset_order(columns[:, 3], columns[:, 5], gathered['counts'], size)
    if not np.array_equal(rows, np.arange(len(features))):
        features = features[torch.from_numpy(rows).to(features.device)]
    return [
        dict(
            features=features,
            columns=torch.from_numpy(columns[rows, :5]),
            names=[gathered['datasets'][code] for code in columns[rows, 5]],
        )
    ]


def dataset_order(
    sample_idx: np.ndarray, groups: np.ndarray, counts: Sequence[int], size: int
) -> np.ndarray:
    """Which gathered rows make up the data set, in its order: (size,) rows.

    Samplers pad so that all processes have equally many samples, which makes
    duplicates. With valid positions ``sample_idx`` (n,) in the data sets ``groups``
    (n,) any sampler's are put right. Where one is -1, not known, the order of
    mmengine's ``DefaultSampler`` (not shuffled) is assumed: process r of W, which
    brought ``counts[r]`` samples, holds samples r, r + W, ...
    """
    total = sum(counts)
    if total < size:
        raise ValueError(
            f'ReIDMetric got {total} samples of {size} in the data set. Set '
            'drop_last=False in the dataloader and pass the number of samples to '
            'evaluate().'
        )
    if (sample_idx >= 0).all():
        keys = np.stack([groups, sample_idx], axis=1)
        rows = np.unique(keys, axis=0, return_index=True)[1]
        if len(rows) == size:
            return rows
    place = np.concatenate([np.arange(count) for count in counts])
    process = np.repeat(np.arange(len(counts)), counts)
    return np.lexsort((process, place))[:size]
