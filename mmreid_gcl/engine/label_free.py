# SPDX-License-Identifier: Apache-2.0
"""How good pseudo-labels look to somebody who has no labels."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np

from mmreid_gcl.clustering import adjusted_rand_index


@dataclass(frozen=True)
class LabelFreeSignals:
    """Three signs of quality that need no identities.

    Attributes:
        clustered (float): Share of the images that are in a cluster, in [0, 1].
        stability (float): Agreement (adjusted Rand index) with the labels of the
            epoch before; at most 1.
        silhouette (float | None): Mean silhouette of the clustered images on the
            graph of Jaccard distances, in [-1, 1]; None if the clusterer has no
            such graph.
    """

    clustered: float
    stability: float
    silhouette: float | None

    @property
    def score(self) -> float:
        """The product of the three, negative ones taken as 0; in [0, 1].

        A product, so that one bad sign is a veto: a collapsed embedding is stable
        and has no outliers, but its silhouette is about 0; a clustering that throws
        most images out has a high silhouette of the rest. A ``silhouette`` of None
        is left out.
        """
        silhouette = 1.0 if self.silhouette is None else max(self.silhouette, 0.0)
        return self.clustered * max(self.stability, 0.0) * silhouette

    def to_dict(self) -> dict[str, float | None]:
        """As plain values."""
        return asdict(self)


def label_free_signals(
    labels: np.ndarray, previous: np.ndarray, silhouette: float | None
) -> LabelFreeSignals:
    """Signs of quality of pseudo-labels.

    Args:
        labels (np.ndarray): (N,) clusters, -1 is an outlier.
        previous (np.ndarray): (N,) those of the epoch before.
        silhouette (float, optional): Theirs, by
            :func:`~mmreid_gcl.clustering.graph_silhouette`.

    Returns:
        LabelFreeSignals: With their :attr:`~LabelFreeSignals.score`.

    Raises:
        ValueError: If the two labellings are of different lengths.
    """
    labels, previous = np.asarray(labels), np.asarray(previous)
    if labels.shape != previous.shape:
        raise ValueError(
            f'label_free_signals: {labels.shape} labels and {previous.shape} labels of '
            'the epoch before; expected as many.'
        )
    return LabelFreeSignals(
        clustered=float((labels >= 0).mean()) if len(labels) else 0.0,
        stability=adjusted_rand_index(labels, previous),
        silhouette=silhouette,
    )
