# SPDX-License-Identifier: Apache-2.0
"""Clusters of the training set."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from mmreid_gcl.checkpoint import read_checkpoint
from mmreid_gcl.visualization import cluster_sheet

from .source import ModelSource, cameras_of, images_of


def cluster_figure(
    source: ModelSource,
    num_clusters: int = 12,
    per_cluster: int = 12,
    recluster: bool = False,
) -> Figure:
    """The pseudo-labels, the least pure clusters first.

    Args:
        source (ModelSource): Model and data.
        num_clusters (int): Rows at most.
        per_cluster (int): Images in a row at most.
        recluster (bool): Cluster with the checkpoint's weights, as the next epoch would
            begin. False takes the labels that the checkpoint holds, those its last
            epoch was trained with, and clusters only if it has none.

    A ``ValueError`` if the labels in the checkpoint are not those of the data, or all
    images are outliers.
    """
    data = source.train_set
    labels = None if recluster else stored_labels(source)
    words = 'labels of the last epoch'
    if labels is None:
        labels = source.labeller(
            source.train_features,
            source.records,
            source.model.relation_neck,
            source.epoch,
        ).labels
        words = 'clustered with its weights'
    pids = data.column('pid')
    return cluster_sheet(
        images_of(data),
        labels,
        pids if (pids >= 0).any() else None,
        cameras_of(data),
        num_clusters,
        per_cluster,
        title=f'{source.name}: {words}',
    )


def stored_labels(source: ModelSource) -> np.ndarray | None:
    """The pseudo-labels in the checkpoint, (N,) int64; None without any."""
    if source.checkpoint is None:
        return None
    labels = read_checkpoint(source.checkpoint, mmap=True).get('pseudo_labels')
    if labels is None:
        return None
    if len(labels) != len(source.train_set):
        raise ValueError(
            f'{source.checkpoint}: it has the pseudo-labels of {len(labels)} images, '
            f'but the training set has {len(source.train_set)}. Give the data it was '
            'trained on (data_root), or cluster again (--recluster).'
        )
    return labels.numpy()
