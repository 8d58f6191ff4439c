# SPDX-License-Identifier: Apache-2.0
"""Identity loss and triplets by plain loops."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmreid_gcl.models.heads.supervised_heads import (
    IdentityHead,
    TripletHead,
    batch_hard_triplet_loss,
)


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 1000), count=st.integers(1, 9), people=st.integers(1, 4))
def test_triplets_are_those_of_plain_loops(seed, count, people):
    torch.manual_seed(seed)
    x = torch.randn(count, 5, dtype=torch.float64)
    labels = torch.randint(people, (count,))
    total = 0.0
    for i in range(count):
        far = [
            float((x[i] - x[j]).norm()) for j in range(count) if labels[j] == labels[i]
        ]
        near = [
            float((x[i] - x[j]).norm()) for j in range(count) if labels[j] != labels[i]
        ]
        if near:
            total += max(0.0, 0.3 + max(far) - min(near)) / count
    found = batch_hard_triplet_loss(x, labels, 0.3)
    assert float(found) == pytest.approx(total, abs=1e-5)


def test_gradients_of_triplets_are_finite_for_copies():
    x = torch.ones(4, 3, requires_grad=True)
    TripletHead().loss(x, torch.tensor([0, 0, 1, 1]))['loss_triplet'].backward()
    assert torch.isfinite(x.grad).all()


@pytest.mark.parametrize('smoothing', [0.0, 0.1])
def test_identity_loss_is_smoothed_cross_entropy(smoothing):
    torch.manual_seed(0)
    head = IdentityHead(5, 4, smoothing, loss_weight=2.0).double()
    torch.nn.init.normal_(head.classifier.weight)
    x, labels = torch.randn(3, 5, dtype=torch.float64), torch.tensor([3, 0, 3])
    expected = 0.0
    for q, label in zip(x, labels.tolist()):
        logits = [float(w @ q) for w in head.classifier.weight]
        total = math.log(sum(map(math.exp, logits)))
        for j, logit in enumerate(logits):
            target = smoothing / 4 + (1 - smoothing) * (j == label)
            expected -= target * (logit - total) / 3
    loss = head.loss(x, labels)['loss_id']
    assert float(loss) == pytest.approx(2 * expected, abs=1e-10)
    assert head.feature == 'normed' and TripletHead().feature == 'pooled'
