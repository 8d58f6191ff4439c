# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
import torch.nn.functional as F

from mmreid_gcl.models.functional.numerics import unit_length


@pytest.mark.parametrize('dtype', [torch.float32, torch.float64])
def test_unit_length_is_normalize(dtype):
    x = 7 * torch.randn(5, 8, dtype=dtype)
    x[3] = 0
    weight = torch.randn(5, 8, dtype=dtype)
    outs, gradients = [], []
    for function in (unit_length, F.normalize):
        leaf = x.clone().requires_grad_()
        outs.append(function(leaf))
        (outs[-1] * weight).sum().backward()
        gradients.append(leaf.grad)
    assert torch.equal(*outs) and torch.equal(outs[0], unit_length(x))
    tolerance = 1e-5 if dtype == torch.float32 else 1e-14
    torch.testing.assert_close(*gradients, rtol=tolerance, atol=tolerance)


def test_gradcheck():
    x = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(unit_length, (x,))
    assert torch.autograd.gradgradcheck(unit_length, (x,))


def test_half_precision_gives_float32():
    x = torch.randn(3, 4).bfloat16().requires_grad_()
    with torch.autocast('cpu', torch.bfloat16):
        out = unit_length(x)
    assert out.dtype == torch.float32
    torch.testing.assert_close(out, F.normalize(x.float()))
    out.sum().backward()
    assert x.grad.dtype == torch.bfloat16
