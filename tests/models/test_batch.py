# SPDX-License-Identifier: Apache-2.0
"""Two gloo processes do what one does with the whole batch."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from mmreid_gcl.models import GCLNeck, gather_batch, selective_contrastive_loss
from tests.engine.processes import run

WORLD = 2
LABELS = torch.tensor([0, 0, 2, 2, 0, 2, 1, 1])


class Toy(nn.Module):
    """A part that each rank runs on its images, one that sees all of them."""

    def __init__(self):
        super().__init__()
        self.own = nn.Linear(5, 4, bias=False)  # the norm takes a bias away
        self.norm = nn.BatchNorm1d(4)
        self.relation = GCLNeck(4)

    def forward(self, x, labels, memory):
        features = gather_batch(self.own(x))
        labels = gather_batch(labels)
        x = F.normalize(self.norm(features))
        loss = selective_contrastive_loss(x, labels, memory[0], 0.3, 2)
        relation = self.relation(x)
        return loss + 0.5 * selective_contrastive_loss(
            relation, labels, memory[1], 0.3, 2
        )


def make():
    torch.manual_seed(3)
    model = Toy().double()
    x = torch.randn(8, 5, dtype=torch.float64)
    memory = [F.normalize(torch.randn(3, c, dtype=torch.float64)) for c in (4, 8)]
    return model, x, memory


def outcome(model, loss):
    loss.backward()
    gradients = {n: p.grad.clone() for n, p in model.named_parameters()}
    return loss.item(), gradients, dict(model.named_buffers())


def worker(rank):
    model, x, memory = make()
    mine = slice(rank * 4, (rank + 1) * 4)
    ids = gather_batch(torch.arange(8)[mine])
    parts = gather_batch(x[mine])
    wrapped = DistributedDataParallel(model, broadcast_buffers=False)
    loss = wrapped(x[mine], LABELS[mine], memory)
    return [ids, torch.equal(parts, x), *outcome(model, loss)]


def test_two_processes_equal_one(tmp_path):
    model, x, memory = make()
    loss, gradients, buffers = outcome(model, model(x, LABELS, memory))
    # autograd refuses to run in a fork of a process in which it had threads
    ranks = run(worker, tmp_path, WORLD, method='forkserver')
    for ids, same, rank_loss, rank_gradients, rank_buffers in ranks:
        assert ids.tolist() == list(range(8)) and same
        assert abs(rank_loss - loss) < 1e-10
        for name, expected in gradients.items():
            assert expected.abs().max() > 1e-6, name
            torch.testing.assert_close(
                rank_gradients[name], expected, rtol=0, atol=1e-10, msg=name
            )
        for name, expected in buffers.items():
            torch.testing.assert_close(rank_buffers[name], expected)


def test_one_process_is_left_alone():
    x = torch.randn(3, 2, requires_grad=True)
    assert gather_batch(x) is x
