# SPDX-License-Identifier: Apache-2.0
"""Equations 1 to 4 as functions of embedded nodes."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from mmreid_gcl.models.functional import (
    correlation,
    mutual_nearest,
    neighbour_correlation,
    neighbour_relation_aware,
    relation_aware,
)

from . import reference

TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-12}


def unit_rows(*shape, dtype=torch.float64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(*shape, generator=generator, dtype=dtype), dim=-1)


@pytest.mark.parametrize('dtype', [torch.float32, torch.float64])
@pytest.mark.parametrize('nodes,width', [(1, 3), (2, 1), (5, 4), (16, 7)])
@pytest.mark.parametrize('temperature', [0.5, 5.0, 40.0])
def test_one_graph(dtype, nodes, width, temperature):
    theta = unit_rows(nodes, width, dtype=dtype, seed=1)
    phi = unit_rows(nodes, width, dtype=dtype, seed=2)
    x = unit_rows(nodes, width, dtype=dtype, seed=3)
    scores = correlation(theta, phi, temperature)
    expected = reference.attention(theta.tolist(), phi.tolist(), temperature)
    close = dict(rtol=0, atol=TOLERANCE[dtype])
    torch.testing.assert_close(scores, torch.tensor(expected, dtype=dtype), **close)
    refined = reference.relation_aware(x.tolist(), expected)
    torch.testing.assert_close(
        relation_aware(x, scores), torch.tensor(refined, dtype=dtype), **close
    )


def test_temperature_multiplies():
    """T sharpens: 5 is not 1 / 5."""
    theta = phi = torch.eye(3, dtype=torch.float64)
    diagonal = correlation(theta, phi, 5.0)[0, 0].item()
    assert diagonal == pytest.approx(2.718281828459045**5 / (2.718281828459045**5 + 2))


@pytest.mark.parametrize('leading', [(3,), (2, 3), (1, 2, 2)])
def test_graphs_do_not_mix(leading):
    theta, phi, x = (unit_rows(*leading, 4, 5, seed=s) for s in range(3))
    scores = correlation(theta, phi, 5.0)
    out = relation_aware(x, scores)
    assert scores.shape == (*leading, 4, 4) and out.shape == (*leading, 4, 10)
    flat = [t.reshape(-1, 4, t.shape[-1]) for t in (theta, phi, x, scores, out)]
    for t, p, v, s, o in zip(*flat):
        expected = reference.attention(t.tolist(), p.tolist(), 5.0)
        torch.testing.assert_close(s, torch.tensor(expected, dtype=s.dtype))
        expected = reference.relation_aware(v.tolist(), expected)
        torch.testing.assert_close(o, torch.tensor(expected, dtype=o.dtype))


@settings(deadline=None)
@given(
    nodes=st.integers(1, 9),
    places=st.integers(1, 7),
    seed=st.integers(0, 10_000),
    temperature=st.floats(0, 30),
)
def test_neighbourhoods(nodes, places, seed, temperature):
    """Each node with its own graph, some places of which are empty."""
    generator = torch.Generator().manual_seed(seed)
    theta, phi, x = (unit_rows(nodes, 4, seed=seed + s) for s in range(3))
    neighbours = torch.randint(-1, nodes, (nodes, places), generator=generator)
    neighbours[:, seed % places] = torch.arange(nodes)  # at least itself
    scores = neighbour_correlation(theta, phi, neighbours, temperature)
    out = neighbour_relation_aware(x, x, neighbours, scores)
    for i in range(nodes):
        taken = [p for p in range(places) if neighbours[i, p] >= 0]
        near = [neighbours[i, p].item() for p in taken]
        (row,) = reference.attention(
            [theta[i].tolist()], [phi[j].tolist() for j in near], temperature
        )
        expected = torch.zeros(places, dtype=torch.float64)
        expected[taken] = torch.tensor(row, dtype=torch.float64)
        torch.testing.assert_close(scores[i], expected)
        refined = [sum(m * x[j, c].item() for m, j in zip(row, near)) for c in range(4)]
        torch.testing.assert_close(
            out[i], torch.cat([x[i], torch.tensor(refined, dtype=torch.float64)])
        )


def test_gradients():
    theta, phi, x = (unit_rows(4, 3, seed=s).requires_grad_() for s in range(3))
    neighbours = torch.tensor([[0, 1, -1], [1, 2, 0], [2, -1, -1], [3, 0, 2]])

    def graph(theta, phi, x):
        return relation_aware(x, correlation(theta, phi, 5.0))

    def neighbourhood(theta, phi, x):
        scores = neighbour_correlation(theta, phi, neighbours, 5.0)
        return neighbour_relation_aware(x, x, neighbours, scores)

    assert torch.autograd.gradcheck(graph, (theta, phi, x))
    assert torch.autograd.gradcheck(neighbourhood, (theta, phi, x))


@settings(deadline=None, max_examples=40)
@given(nodes=st.integers(1, 8), count=st.integers(1, 9), seed=st.integers(0, 1000))
def test_attention_among_each_others_nearest(nodes, count, seed):
    x = unit_rows(2, nodes, 5, seed=seed)
    among = mutual_nearest(x, count)
    for graph, mask in zip(x, among):
        cosine = (graph @ graph.T).tolist()
        near = []
        for i in range(nodes):
            others = sorted((j for j in range(nodes) if j != i),
                            key=lambda j, i=i: -cosine[i][j])  # fmt: skip
            near.append({i, *others[: count - 1]})
        for i in range(nodes):
            for j in range(nodes):
                assert bool(mask[i, j]) == (j in near[i] and i in near[j])
    scores = correlation(x, x, 5.0, among)
    assert torch.equal(scores > 0, among)
    torch.testing.assert_close(scores.sum(-1), torch.ones(2, nodes).double())
