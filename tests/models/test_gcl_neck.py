# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmreid_gcl.models import GCLNeck

from . import reference


def make_neck(channels=6, dtype=torch.float64, seed=0, **kwargs):
    """A neck whose norms have been somewhere: nothing is at 0 or 1."""
    torch.manual_seed(seed)
    neck = GCLNeck(channels, **kwargs).to(dtype)
    for projection in (neck.theta, neck.phi):
        nn.init.uniform_(projection.norm.weight, 0.5, 1.5)
        nn.init.normal_(projection.norm.bias, std=0.3)
        nn.init.normal_(projection.norm.running_mean, std=0.2)
        nn.init.uniform_(projection.norm.running_var, 0.5, 1.5)
    return neck


def project_by_hand(projection, rows, training):
    """L2(BN(W v)), as below equation 1."""
    (linear,) = (m for m in projection.modules() if isinstance(m, nn.Linear))
    (norm,) = (m for m in projection.modules() if isinstance(m, _BatchNorm))
    rows = [reference.linear(linear.weight.tolist(), row) for row in rows]
    statistics = {}
    if not training:
        statistics = dict(
            mean=norm.running_mean.tolist(), var=norm.running_var.tolist()
        )
    rows = reference.batch_norm(
        rows, norm.weight.tolist(), norm.bias.tolist(), norm.eps, **statistics
    )
    return [reference.unit(row) for row in rows]


def forward_by_hand(neck, graphs, training):
    """Scores and relation-aware nodes of a list of graphs."""
    flat = [row for graph in graphs for row in graph]
    theta = project_by_hand(neck.theta, flat, training)
    phi = project_by_hand(neck.phi, flat, training)
    scores, out, start = [], [], 0
    for graph in graphs:
        part = slice(start, start + len(graph))
        start += len(graph)
        scores.append(reference.attention(theta[part], phi[part], neck.temperature))
        out.append(reference.relation_aware(graph, scores[-1]))
    return scores, out


@pytest.mark.parametrize('dtype', [torch.float32, torch.float64])
@pytest.mark.parametrize('leading', [(), (3,), (2, 3)])
@pytest.mark.parametrize('training', [True, False])
@pytest.mark.parametrize('nodes', [1, 2, 5])
def test_by_hand(dtype, leading, training, nodes):
    if training and nodes == 1 and leading == ():
        pytest.skip('one value has no batch statistics')
    neck = make_neck(dtype=dtype, temperature=3.0).train(training)
    x = torch.randn(*leading, nodes, 6, dtype=dtype)
    before = x.clone()
    scores, out = forward_by_hand(neck, x.reshape(-1, nodes, 6).tolist(), training)
    close = dict(rtol=0, atol=1e-5 if dtype == torch.float32 else 1e-10)
    expected = torch.tensor(out, dtype=dtype).reshape(*leading, nodes, 12)
    torch.testing.assert_close(neck(x), expected, **close)
    expected = torch.tensor(scores, dtype=dtype).reshape(*leading, nodes, nodes)
    torch.testing.assert_close(neck.attention(x), expected, **close)
    assert torch.equal(x, before)


def test_default_temperature():
    assert GCLNeck(4).temperature == 5


def test_one_linear_and_one_norm_each():
    neck = GCLNeck(5)
    for projection in (neck.theta, neck.phi):
        leaves = [m for m in projection.modules() if not list(m.children())]
        assert [type(m) for m in leaves] == [nn.Linear, nn.BatchNorm1d]
        assert leaves[0].weight.shape == (5, 5)
    assert neck.theta.linear.weight is not neck.phi.linear.weight
    linears = [m for m in neck.modules() if isinstance(m, nn.Linear)]
    assert len(linears) == 2


def test_tuple_gives_tuple():
    neck = make_neck().eval()
    x = torch.randn(4, 6, dtype=torch.float64)
    out = neck((x, 2 * x))
    assert type(out) is tuple
    assert torch.equal(out[0], neck(x)) and torch.equal(out[1], neck(2 * x))
    assert type(neck([x])) is tuple


@pytest.mark.parametrize('chunk_size', [1, 3, 7, 1024])
@pytest.mark.parametrize('count,size', [(12, 4), (11, 4), (9, 4), (3, 4), (5, 1)])
def test_refine_is_forward_of_each_graph(chunk_size, count, size):
    neck = make_neck().eval()
    x = torch.randn(count, 6, dtype=torch.float64)
    order = torch.randperm(count)
    neighbours = torch.full((count, size), -1)
    expected = torch.empty(count, 12, dtype=torch.float64)
    for start in range(0, count, size):
        graph = order[start : start + size]  # the last one is smaller
        for i in graph.tolist():
            neighbours[i, : len(graph)] = graph
        expected[graph] = neck(x[graph])
    out = neck.refine(x, neighbours, chunk_size=chunk_size)
    torch.testing.assert_close(out, expected, rtol=0, atol=1e-12)
    # empty places count nothing, wherever they are; nor does a node's order
    shuffled = neighbours[:, torch.randperm(size)]
    out = neck.refine(x, shuffled, chunk_size=chunk_size)
    torch.testing.assert_close(out, expected, rtol=0, atol=1e-12)


def test_refine_with_neighbourhoods_by_hand():
    neck = make_neck().eval()
    x = torch.randn(4, 6, dtype=torch.float64)
    neighbours = torch.tensor([[0, 2, 3], [1, -1, -1], [2, 0, -1], [3, 1, 0]])
    theta = project_by_hand(neck.theta, x.tolist(), False)
    phi = project_by_hand(neck.phi, x.tolist(), False)
    for dtype in (torch.int64, torch.int32):
        out = neck.refine(x, neighbours.to(dtype))
        for i, row in enumerate(neighbours.tolist()):
            near = [j for j in row if j >= 0]
            (scores,) = reference.attention(
                [theta[i]], [phi[j] for j in near], neck.temperature
            )
            refined = [
                sum(m * x[j, c].item() for m, j in zip(scores, near)) for c in range(6)
            ]
            expected = x[i].tolist() + refined
            torch.testing.assert_close(
                out[i], torch.tensor(expected, dtype=torch.float64)
            )


def test_refine_while_training_uses_the_statistics_of_all_nodes():
    neck = make_neck().train()
    x = torch.randn(8, 6, dtype=torch.float64)
    everyone = torch.arange(8).expand(8, 8)
    torch.testing.assert_close(neck.refine(x, everyone, chunk_size=3), neck(x))


def test_wrong_width():
    neck = make_neck()
    neighbours = torch.zeros(4, 1, dtype=torch.long)
    for call in (neck, lambda x: neck.refine(x, neighbours)):
        with pytest.raises(ValueError, match=r'in_channels=6.*7 channels'):
            call(torch.randn(4, 7, dtype=torch.float64))


def test_gradient_reaches_both_weights_and_the_nodes():
    neck = make_neck().train()
    x = torch.randn(5, 6, dtype=torch.float64, requires_grad=True)
    loss = (neck(x) * torch.randn(5, 12, dtype=torch.float64)).sum()
    loss.backward()
    for tensor in (neck.theta.linear.weight, neck.phi.linear.weight, x):
        assert tensor.grad is not None and tensor.grad.abs().max() > 1e-6
    for parameter in neck.parameters():
        assert parameter.grad is not None


def test_gradcheck():
    neck = make_neck(3).train()
    x = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    weight = neck.theta.linear.weight

    def run(x, weight):
        return torch.func.functional_call(neck, {'theta.linear.weight': weight}, x)

    assert torch.autograd.gradcheck(run, (x, weight.detach().requires_grad_()))


def test_half_precision_under_autocast():
    neck = make_neck(dtype=torch.float32).eval()
    x = nn.functional.normalize(torch.randn(8, 6))
    with torch.autocast('cpu', torch.bfloat16):
        out = neck(x)
    torch.testing.assert_close(out.float(), neck(x), rtol=0, atol=0.05)


@pytest.mark.gpu
def test_refine_streams_to_the_device():
    """What is as long as the data set stays on the CPU."""
    neck = make_neck().eval()
    x = torch.randn(40, 6, dtype=torch.float64)
    neighbours = torch.randint(-1, 40, (40, 5))
    neighbours[:, 0] = torch.arange(40)
    expected = neck.refine(x, neighbours)
    out = neck.cuda().refine(x, neighbours, chunk_size=7)
    assert out.device.type == 'cpu'
    torch.testing.assert_close(out, expected, rtol=0, atol=1e-12)


def test_identity_begins_with_the_cosine():
    torch.manual_seed(0)
    neck = GCLNeck(6, temperature=3.0, identity=True).eval()
    x = nn.functional.normalize(torch.randn(4, 6))
    expected = torch.softmax(3.0 * x @ x.T, dim=-1)
    torch.testing.assert_close(neck.attention(x), expected, rtol=1e-4, atol=1e-5)


def test_a_node_attends_to_mutual_neighbours_alone():
    torch.manual_seed(0)
    x = nn.functional.normalize(torch.tensor([[1.0, 0], [0.99, 0.1], [0, 1], [0.1, 1]]))
    scores = GCLNeck(2, mutual=2).eval().attention(x)
    assert (scores > 0).tolist() == [[True, True, False, False]] * 2 + [
        [False, False, True, True]
    ] * 2
    with pytest.raises(ValueError, match='mutual must be at least 1, got 0'):
        GCLNeck(2, mutual=0)
