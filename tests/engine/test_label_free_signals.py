# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from mmreid_gcl.clustering import (
    DBSCANClusterer,
    Labeller,
    PseudoLabels,
    graph_silhouette,
)
from mmreid_gcl.engine.label_report import describe, report


def people(spread, seed=0, count=6, shots=8, width=16):
    generator = torch.Generator().manual_seed(seed)
    centres = F.normalize(torch.randn(count, width, generator=generator))
    noise = torch.randn(count * shots, width, generator=generator)
    return F.normalize(centres.repeat_interleave(shots, 0) + spread * noise)


def test_silhouette_and_stability_without_any_label():
    clusterer = DBSCANClusterer(eps=0.6, min_samples=3, k1=8, k2=3)
    outcome = Labeller(clusterer)(people(0.05), {})
    assert outcome.distances is clusterer.distances_
    scalars = report(outcome, stability=0.25)
    assert scalars['stability'] == 0.25
    expected = graph_silhouette(clusterer.distances_, outcome.labels)
    assert scalars['silhouette'] == expected == outcome.silhouette
    assert 'ari' not in scalars
    # it says that worse embeddings are worse
    worse = report(Labeller(clusterer)(people(0.25), {}))
    assert worse['silhouette'] < scalars['silhouette'] - 0.05
    assert 'stability' not in worse


def test_of_the_labels_that_are_used():
    """The second clustering, of what is not refined, does not replace it."""

    class Neck(torch.nn.Linear):
        def refine(self, features, neighbours):
            return features.roll(1, dims=1) ** 3

    neck = Neck(1, 1)
    clusterer = DBSCANClusterer(eps=0.6, min_samples=3, k1=8, k2=3)
    features = people(0.2)
    label = Labeller(clusterer, lambda x, **_: np.zeros((len(x), 1), np.int64))
    alone = label(features, {}, neck).silhouette
    plain = label(features, {}).silhouette
    assert alone != plain
    both = label(features, {}, neck, compare=True)
    assert both.silhouette == alone
    both.set_labels(np.roll(both.labels, 1))  # on the graph of the refined ones
    assert both.silhouette == graph_silhouette(both.distances, both.labels) < alone


def test_a_clusterer_without_a_graph():
    outcome = Labeller(lambda x: np.zeros(len(x), np.int64))(people(0.1), {})
    assert outcome.silhouette is None and 'silhouette' not in report(outcome)


def test_tracks_are_reported():
    """Two tracks of one moment in one cluster; a third is torn apart."""
    labels = np.array([0, 0, 0, 0, 1, -1, 1])
    outcome = PseudoLabels(labels, {})
    records = dict(
        track=np.array([0, 0, 1, 1, 2, 2, -1]),
        camid=np.zeros(7, int),
        sequence=np.zeros(7, int),
        frame=np.array([1, 2, 2, 3, 3, 4, 3]),
    )
    scalars = report(outcome, records=records)
    assert scalars['whole_tracks'] == pytest.approx(2 / 3)
    assert scalars['conflicting_tracks'] == 0.5  # 0 and 1, not 1 and 2
    assert 'cross_camera_clusters' not in scalars  # there is one camera
    text = describe(0, scalars, 7)
    assert '67% of the tracks are in one cluster' in text
    assert '50.0% of the pairs of tracks seen together share one' in text
    records['track'][:] = -1
    assert not {'whole_tracks', 'conflicting_tracks'} & {
        *report(outcome, None, None, records)
    }


def test_a_clusterer_that_miscounts():
    """As one does that remembers the labels of other images."""
    with pytest.raises(ValueError, match=r'shape \(47,\) for 48 images'):
        Labeller(lambda x: np.zeros(len(x) - 1, np.int64))(people(0.1), {})
