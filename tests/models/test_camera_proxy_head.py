# SPDX-License-Identifier: Apache-2.0
"""CAP by plain loops over the equations of its paper."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from mmreid_gcl.models import BatchImages, CameraProxyHead
from mmreid_gcl.models.functional.proxies import inter_camera_loss, intra_camera_loss


def case(seed, clusters=4, cameras=3, count=9, width=6, dtype=torch.float64):
    rng = torch.Generator().manual_seed(seed)
    pairs = [
        (u, c) for u in range(clusters) for c in range(cameras) if (u + c + seed) % 3
    ]
    pairs = pairs or [(0, 0)]
    rows = torch.randint(len(pairs), (count,), generator=rng)
    labels = torch.tensor([pairs[r][0] for r in rows])
    camids = torch.tensor([pairs[r][1] for r in rows])
    queries = torch.randn(count, width, generator=rng, dtype=dtype)
    proxies = F.normalize(torch.randn(len(pairs), width, generator=rng, dtype=dtype))
    proxy_labels, proxy_camids = torch.tensor(pairs).T
    return queries, labels, camids, proxies, proxy_labels, proxy_camids


def similarities(queries, proxies, temperature):
    unit = queries / queries.norm(dim=1, keepdim=True)
    return [[float(q @ p) / temperature for p in proxies] for q in unit]


def by_camera(losses, camids):
    total = 0.0
    for camera in sorted(set(camids.tolist())):
        own = [loss for loss, c in zip(losses, camids.tolist()) if c == camera]
        total += sum(own) / len(own)
    return total


def intra_by_loops(queries, labels, camids, proxies, proxy_labels, proxy_camids, tau):
    sims = similarities(queries, proxies, tau)
    losses = []
    for i, row in enumerate(sims):
        here = [j for j in range(len(row)) if proxy_camids[j] == camids[i]]
        (own,) = [j for j in here if proxy_labels[j] == labels[i]]
        losses.append(
            -math.log(math.exp(row[own]) / sum(math.exp(row[j]) for j in here))
        )
    return by_camera(losses, camids)


def inter_by_loops(
    queries, labels, camids, proxies, proxy_labels, proxy_camids, tau, negatives
):
    sims = similarities(queries, proxies, tau)
    losses = []
    for i, row in enumerate(sims):
        mine = [j for j in range(len(row)) if proxy_labels[j] == labels[i]]
        positives = [j for j in mine if proxy_camids[j] != camids[i]]
        others = sorted(
            (j for j in range(len(row)) if j not in mine), key=lambda j: -row[j]
        )
        among = positives + others[:negatives]
        if not positives:
            losses.append(0.0)
            continue
        total = sum(math.exp(row[j]) for j in among)
        losses.append(
            sum(-math.log(math.exp(row[p]) / total) for p in positives) / len(positives)
        )
    return by_camera(losses, camids)


@settings(deadline=None, max_examples=30)
@given(
    seed=st.integers(0, 1000),
    clusters=st.integers(1, 5),
    cameras=st.integers(1, 4),
    count=st.integers(1, 12),
    negatives=st.integers(1, 20),
)
def test_losses_are_those_of_plain_loops(seed, clusters, cameras, count, negatives):
    arguments = case(seed, clusters, cameras, count)
    intra = intra_camera_loss(*arguments, 0.3)
    assert float(intra) == pytest.approx(intra_by_loops(*arguments, 0.3), abs=1e-10)
    inter = inter_camera_loss(*arguments, 0.3, negatives)
    expected = inter_by_loops(*arguments, 0.3, negatives)
    assert float(inter) == pytest.approx(expected, abs=1e-10)


def test_gradients_are_finite_without_positives_or_negatives():
    for cameras, clusters in ((1, 3), (3, 1), (1, 1)):
        queries, *rest = case(0, clusters, cameras)
        queries.requires_grad_()
        (
            intra_camera_loss(queries, *rest) + inter_camera_loss(queries, *rest)
        ).backward()
        assert torch.isfinite(queries.grad).all()


def test_proxies_are_means_of_a_cluster_in_a_camera():
    features = torch.randn(7, 5)
    labels = torch.tensor([1, 0, 0, -1, 1, 0, 0])
    camids = np.array([4, 2, 4, 2, 4, 2, 7])
    head = CameraProxyHead(5)
    head.init_memory(features, labels, dict(camid=camids))
    found = set(zip(head.proxy_labels.tolist(), head.proxy_camids.tolist()))
    assert found == {(0, 2), (0, 4), (0, 7), (1, 4)}
    for row, label, camera in zip(head.memory, head.proxy_labels, head.proxy_camids):
        rows = [i for i in range(7) if labels[i] == label and camids[i] == camera]
        mean = sum(features[i] for i in rows) / len(rows)
        assert torch.allclose(row, mean / mean.norm(), atol=1e-6)


def test_every_query_moves_its_proxy_in_turn():
    torch.manual_seed(0)
    features, labels = torch.randn(8, 5), torch.arange(8) // 4
    camids = np.arange(8) % 2
    head = CameraProxyHead(5, momentum=0.3)
    head.init_memory(features, labels, dict(camid=camids))
    expected = head.memory.clone()
    queries = torch.randn(6, 5)
    batch = BatchImages(
        torch.tensor([0, 1, 0, 0, 1, 0]), camid=torch.tensor([1, 0, 1, 0, 0, 1])
    )
    losses = head.loss(queries, batch.labels, batch)
    assert set(losses) == {'loss_intra', 'loss_inter'}
    for query, label, camera in zip(queries, batch.labels, batch.camid):
        (row,) = [
            j
            for j in range(len(expected))
            if head.proxy_labels[j] == label and head.proxy_camids[j] == camera
        ]
        moved = 0.3 * expected[row] + 0.7 * query / query.norm()
        expected[row] = moved / moved.norm()
    head.apply_update()
    assert torch.allclose(head.memory, expected, atol=1e-6)


def test_cameras_are_needed():
    head = CameraProxyHead(5)
    head.init_memory(torch.randn(4, 5), torch.arange(4), dict(camid=np.zeros(4, int)))
    for images in (None, BatchImages(torch.arange(2))):
        with pytest.raises(RuntimeError, match='needs camid of the images'):
            head.loss(torch.randn(2, 5), torch.arange(2), images)


def test_arguments():
    with pytest.raises(ValueError, match='momentum'):
        CameraProxyHead(4, momentum=2)
    with pytest.raises(ValueError, match='negatives'):
        CameraProxyHead(4, negatives=0)
