# SPDX-License-Identifier: Apache-2.0
"""From embeddings to pseudo-labels, and what there is to say of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from mmengine.utils import Timer
from scipy.sparse import csr_array
from torch import Tensor, nn

from mmreid_gcl.clustering import (
    adjusted_rand_index,
    cluster_summary,
    graph_silhouette,
    normalized_mutual_info,
    pairwise_precision_recall,
)
from mmreid_gcl.precision import exact_float32


@dataclass
class PseudoLabels:
    """The outcome of one clustering.

    Attributes:
        labels (np.ndarray): (N,) int64, -1 is an outlier.
        features (Tensor): (N, C) embeddings x.
        refined (Tensor | None): (N, 2C) unit-length relation-aware ones.
        unrefined_labels (np.ndarray | None): Labels of x alone, where they
            were asked for beside those of the refined embeddings.
        distances (csr_array | None): (N, N) graph of distances that the labels were
            found on; None if the clusterer has none.
        silhouette (float | None): On that graph. Needs no identities.
        seconds (dict): Time of each step.
    """

    labels: np.ndarray
    features: Tensor
    refined: Tensor | None = None
    unrefined_labels: np.ndarray | None = None
    distances: csr_array | None = None
    silhouette: float | None = None
    seconds: dict[str, float] = field(default_factory=dict)

    def set_labels(self, labels: np.ndarray) -> None:
        """Take labels, and what they are worth on the graph.

        Args:
            labels (np.ndarray): (N,) clusters, -1 is an outlier.
        """
        self.labels = labels
        if self.distances is not None:
            self.silhouette = graph_silhouette(self.distances, labels)


def cluster_embeddings(
    features: Tensor,
    clusterer: Callable[[np.ndarray], np.ndarray],
    relation_neck: nn.Module | None = None,
    build_graphs: Callable[[np.ndarray], np.ndarray] | None = None,
    refine: bool = True,
    compare_unrefined: bool = False,
    normalize: Callable[[np.ndarray], np.ndarray] | None = None,
) -> PseudoLabels:
    """Refine embeddings with GCL and cluster them.

    Args:
        features (Tensor): (N, C) embeddings x, on the CPU.
        clusterer (Callable): (N, D) array to (N,) labels.
        relation_neck (nn.Module, optional): The GCL neck; runs in eval mode.
        build_graphs (Callable, optional): (N, C) array to (N, B) nodes of each
            image's graph; needed with ``relation_neck``.
        refine (bool): Cluster the relation-aware embeddings (CR), not x.
            Defaults to True.
        compare_unrefined (bool): Cluster x too, for the report.
        normalize (Callable, optional): (N, D) array to (N, D), applied to what is
            clustered and to what the graphs are built from, to nothing else; see
            :func:`~mmreid_gcl.clustering.normalize_by_camera`.

    Returns:
        PseudoLabels: The labels and what they were made from.
    """
    normalize = normalize or (lambda array: array)
    timer = Timer()
    seconds = {}
    refined = None
    if relation_neck is not None:
        assert build_graphs is not None, 'relation_neck needs build_graphs'
        neighbours = build_graphs(normalize(features.numpy()))
        refined = refine_embeddings(features, relation_neck, neighbours)
        seconds['refine'] = timer.since_last_check()
    clustered = features if refined is None or not refine else refined
    labels = clusterer(normalize(clustered.numpy()))
    if np.shape(labels) != (len(features),):
        raise ValueError(
            f'{type(clusterer).__name__} gave labels of shape {np.shape(labels)} for '
            f'{len(features)} images; expected {(len(features),)}.'
        )
    seconds['cluster'] = timer.since_last_check()
    outcome = PseudoLabels(labels, features, refined, seconds=seconds)
    # before a second clustering replaces them in the clusterer
    outcome.distances = getattr(clusterer, 'distances_', None)
    outcome.set_labels(labels)
    if compare_unrefined and clustered is refined:
        outcome.unrefined_labels = clusterer(normalize(features.numpy()))
        seconds['compare'] = timer.since_last_check()
    return outcome


@torch.inference_mode()
def refine_embeddings(
    features: Tensor, relation_neck: nn.Module, neighbours: np.ndarray
) -> Tensor:
    """Relation-aware embeddings (eq. 4), unit length, by a neck in eval mode.

    Args:
        features (Tensor): (N, C), on the CPU.
        relation_neck (nn.Module): A :class:`~mmreid_gcl.models.GCLNeck`.
        neighbours (np.ndarray): (N, B) nodes of each image's graph.

    Returns:
        Tensor: (N, 2C), on the CPU.
    """
    was_training = relation_neck.training
    relation_neck.eval()
    # it takes what it needs to its own device, chunk by chunk; what is clustered
    # does not depend on the precision that training allows its products
    with exact_float32():
        refined = relation_neck.refine(features, torch.from_numpy(neighbours))
    relation_neck.train(was_training)
    return F.normalize(refined)


def report(
    outcome: PseudoLabels,
    stability: float | None = None,
    truth: np.ndarray | None = None,
) -> dict[str, float]:
    """Scalars that describe pseudo-labels.

    Args:
        outcome (PseudoLabels): Of this epoch.
        stability (float, optional): Agreement with the labels of the last epoch;
            see :class:`~mmreid_gcl.engine.label_free.LabelFreeSignals`.
        truth (np.ndarray, optional): (N,) identities, for the report alone.

    Returns:
        dict[str, float]: ``clusters``, ``outliers``, sizes; ``stability`` (ARI with
        the last epoch); ``silhouette``; with ``truth`` ``ari``, ``nmi``, ``precision``
        and ``recall`` of pairs, and the same with ``unrefined_`` before; ``seconds_*``.
    """
    scalars: dict[str, float] = dict(cluster_summary(outcome.labels))
    if stability is not None:
        scalars['stability'] = stability
    if outcome.silhouette is not None:
        scalars['silhouette'] = outcome.silhouette
    if truth is not None:
        scalars.update(_against(outcome.labels, truth))
        if outcome.unrefined_labels is not None:
            unrefined = _against(outcome.unrefined_labels, truth)
            scalars.update({f'unrefined_{k}': v for k, v in unrefined.items()})
    scalars.update({f'seconds_{k}': v for k, v in outcome.seconds.items()})
    return scalars


def describe(epoch: int, scalars: dict[str, float], count: int) -> str:
    """The scalars of :func:`report` as one line of the log.

    Args:
        epoch (int): From 0.
        scalars (dict[str, float]): What :func:`report` gave.
        count (int): N images.
    """
    text = (
        f'Epoch {epoch + 1} pseudo-labels: {scalars["clusters"]:.0f} clusters of '
        f'{scalars["size_min"]:.0f}-{scalars["size_max"]:.0f} images (median '
        f'{scalars["size_median"]:.0f}), {scalars["outliers"]:.0f} of {count} images '
        'are outliers'
    )
    if 'stability' in scalars:
        text += f'; ARI with the last epoch {scalars["stability"]:.3f}'
    if 'silhouette' in scalars:
        text += f'; silhouette {scalars["silhouette"]:.3f}'
    for prefix, title in (('', ''), ('unrefined_', ' before refinement')):
        if f'{prefix}ari' in scalars:
            values = ', '.join(
                f'{name} {scalars[prefix + key]:.3f}'
                for name, key in (
                    ('ARI', 'ari'),
                    ('NMI', 'nmi'),
                    ('precision', 'precision'),
                    ('recall', 'recall'),
                )
            )
            text += f'; against identities (report only){title}: {values}'
    times = ', '.join(
        f'{key.removeprefix("seconds_")} {value:.1f} s'
        for key, value in scalars.items()
        if key.startswith('seconds_')
    )
    return f'{text}; {times}'


def _against(labels: np.ndarray, truth: Mapping | np.ndarray) -> dict[str, float]:
    precision, recall = pairwise_precision_recall(labels, truth)
    return dict(
        ari=adjusted_rand_index(labels, truth),
        nmi=normalized_mutual_info(labels, truth),
        precision=precision,
        recall=recall,
    )
