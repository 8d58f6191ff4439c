# SPDX-License-Identifier: Apache-2.0
"""Labeller: embeddings to pseudo-labels, with cluster refinement (CR)."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from mmengine.utils import Timer
from scipy.sparse import csr_array
from torch import Tensor, nn

from mmreid_gcl.eval_mode import evaluating
from mmreid_gcl.precision import exact_float32
from mmreid_gcl.registry import TASK_UTILS

from .camera_normalization import MODES, normalize_by_camera
from .clusterers.base import Records, call_clusterer
from .label_quality import graph_silhouette


@dataclass
class PseudoLabels:
    """The outcome of one clustering.

    Attributes:
        labels (np.ndarray): (N,) int64, -1 is an outlier.
        features (dict[str, Tensor]): 'embedding' (N, C), x; with GCL also 'relation'
            (N, 2C), the unit-length relation-aware ones. Memories are built from
            them.
        unrefined_labels (np.ndarray | None): Labels of x alone, where they
            were asked for beside those of the refined embeddings.
        distances (csr_array | None): (N, N) graph of distances that the labels were
            found on; None if the clusterer has none.
        units (np.ndarray | None): (T,) images that the rows of ``distances`` stand
            for, where these are of tracks; None: each row is an image.
        silhouette (float | None): On that graph. Needs no identities.
        seconds (dict): Time of each step.
    """

    labels: np.ndarray
    features: dict[str, Tensor]
    unrefined_labels: np.ndarray | None = None
    distances: csr_array | None = None
    units: np.ndarray | None = None
    silhouette: float | None = None
    seconds: dict[str, float] = field(default_factory=dict)

    def set_labels(self, labels: np.ndarray) -> None:
        """Take labels, and what they are worth on the graph.

        Args:
            labels (np.ndarray): (N,) clusters, -1 is an outlier.
        """
        self.labels = labels
        if self.distances is not None:
            rows = labels if self.units is None else labels[self.units]
            self.silhouette = graph_silhouette(self.distances, rows)


class Labeller:
    """From embeddings to pseudo-labels, as training makes them before every epoch.

    Graphs are built on the embeddings, GCL refines them, and they are clustered.
    Training, tools and figures all call this.

    Args:
        clusterer (dict | Callable): Config of a
            :class:`~mmreid_gcl.clustering.BaseClusterer`, or one that is built.
        graphs (dict | Callable, optional): Config of a graph builder, or a built one.
            Needed where there is a relation neck.
        refine (bool): Cluster the refined embeddings (cluster refinement, CR);
            False clusters x, and the graphs only serve the memory of the
            relation head (models 2 and 4 of table 2). Defaults to True.
        refine_begin (int): First epoch, from 0, that is refined. Defaults to 0.
        compare_unrefined (bool): Where it is asked for, cluster x too, at the price
            of a second clustering. Defaults to True.
        camera_norm (str, optional): 'mean' subtracts every camera's mean from
            what is clustered and from what the graphs are built from,
            'standardize' also divides by its standard deviation
            (:func:`~mmreid_gcl.clustering.normalize_by_camera`). Cameras are no
            labels. Defaults to None, as in the paper.

    Raises:
        ValueError: If ``camera_norm`` is unknown, or a part cannot be built.

    Examples:
        >>> label = Labeller(dict(type='DBSCANClusterer', eps=0.5))
        >>> label(features, records).labels
    """

    def __init__(
        self,
        clusterer: dict | Callable,
        graphs: dict | Callable | None = None,
        refine: bool = True,
        refine_begin: int = 0,
        compare_unrefined: bool = True,
        camera_norm: str | None = None,
    ) -> None:
        if camera_norm not in (None, *MODES):
            raise ValueError(
                f'camera_norm must be one of {MODES} or None, got {camera_norm!r}.'
            )
        self.clusterer = _built('clusterer', clusterer)
        self.graphs = _built('graphs', graphs)
        self.refine = refine
        self.refine_begin = refine_begin
        self.compare_unrefined = compare_unrefined
        self.camera_norm = camera_norm

    def __call__(
        self,
        features: Tensor,
        records: Records,
        relation_neck: nn.Module | None = None,
        epoch: int | None = None,
        compare: bool = False,
    ) -> PseudoLabels:
        """Refine embeddings with GCL and cluster them.

        Args:
            features (Tensor): (N, C) embeddings x, on the CPU.
            records (Mapping[str, np.ndarray]): (N,) arrays ``img_path``, ``camid``,
                ``sequence``, ``frame``, ``moment`` and ``track``. Identities have no
                place here.
            relation_neck (nn.Module, optional): The GCL neck; runs in eval mode.
            epoch (int, optional): How many epochs the weights were trained for.
                Defaults to as many as refinement needs: a trained model.
            compare (bool): Cluster x too, for a report, if ``compare_unrefined`` and
                the refined ones are clustered. Defaults to False.

        Returns:
            PseudoLabels: The labels and what they were made from.

        Raises:
            ValueError: If there is a relation neck and no graphs, or the clusterer
                gave another number of labels.
        """
        timer = Timer()
        outcome = PseudoLabels(np.empty(0, np.int64), dict(embedding=features))
        clustered = features
        if relation_neck is not None:
            neighbours = self.build_graphs(features, records, epoch)
            refined = refine_embeddings(features, relation_neck, neighbours)
            outcome.features['relation'] = refined
            outcome.seconds['refine'] = timer.since_last_check()
            if self.refines(epoch):
                clustered = refined
        labels = self._cluster(clustered, records)
        outcome.seconds['cluster'] = timer.since_last_check()
        # before a second clustering replaces them in the clusterer
        outcome.distances = getattr(self.clusterer, 'distances_', None)
        outcome.units = getattr(self.clusterer, 'units_', None)
        outcome.set_labels(labels)
        if compare and self.compare_unrefined and clustered is not features:
            outcome.unrefined_labels = self._cluster(features, records)
            outcome.seconds['compare'] = timer.since_last_check()
        return outcome

    @property
    def uses_time(self) -> bool:
        """Whether the graphs follow an order of time."""
        return getattr(self.graphs, 'order', None) == 'camera_time'

    def refines(self, epoch: int | None = None) -> bool:
        """Whether the labels of an epoch are those of refined embeddings."""
        return self.refine and (epoch is None or epoch >= self.refine_begin)

    def require_graphs(self) -> None:
        """Raise a ``ValueError`` if there are no graphs for a relation neck."""
        if self.graphs is None:
            raise ValueError(
                'The model has a relation_neck, so PseudoLabelHook needs graphs, for '
                "example graphs=dict(type='OrderedGraphs', order='camera_time')."
            )

    def build_graphs(
        self, features: Tensor, records: Records, epoch: int | None = None
    ) -> np.ndarray:
        """The graphs that GCL refines embeddings on.

        Args:
            features (Tensor): (N, C) embeddings x, on the CPU.
            records (Mapping[str, np.ndarray]): As in :meth:`__call__`.
            epoch (int, optional): For random orders. Defaults to the first.

        Returns:
            np.ndarray: (N, B) nodes of each image's graph, -1 is empty.

        Raises:
            ValueError: If the config has no graphs.
        """
        self.require_graphs()
        array = self._normalized(features, records)
        return self.graphs(array, records=records, epoch=epoch or 0)

    def _cluster(self, features: Tensor, records: Records) -> np.ndarray:
        array = self._normalized(features, records)
        return call_clusterer(self.clusterer, array, records)

    def _normalized(self, features: Tensor, records: Records) -> np.ndarray:
        array = features.numpy()
        if self.camera_norm is None:
            return array
        return normalize_by_camera(
            array, records['camid'], self.camera_norm, tracks=records.get('track')
        )


def labeller_of(settings: Mapping[str, Any]) -> Labeller:
    """The labeller that a ``PseudoLabelHook`` with these settings has.

    Args:
        settings (Mapping): Config of the hook.

    Returns:
        Labeller: With its clusterer and graphs.

    Raises:
        ValueError: If there is no clusterer.
    """
    if not settings.get('clusterer'):
        raise ValueError(
            'This config has no PseudoLabelHook with a clusterer, which this needs. '
            'Add default_hooks = dict(pseudo_labels=dict(type='
            "'PseudoLabelHook', clusterer=dict(type='DBSCANClusterer'), ...))."
        )
    own = inspect.signature(Labeller).parameters  # the hook has others beside them
    return Labeller(**{key: settings[key] for key in own if key in settings})


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
    # it takes what it needs to its own device, chunk by chunk; what is clustered
    # does not depend on the precision that training allows its products
    with exact_float32(), evaluating(relation_neck):
        refined = relation_neck.refine(features, torch.from_numpy(neighbours))
    return F.normalize(refined)


def _built(what: str, part: dict | Callable | None) -> Any:
    """A clusterer or graphs; an unknown setting is an error that names them."""
    if not isinstance(part, Mapping):
        return part
    try:
        return TASK_UTILS.build(part)
    except (TypeError, KeyError) as error:
        raise ValueError(f'the {what} {part.get("type")}: {error}') from error
