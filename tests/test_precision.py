# SPDX-License-Identifier: Apache-2.0
import pytest
import torch

from mmreid_gcl.precision import float32_products


def _switch():
    matmul = torch.backends.cuda.matmul
    return getattr(matmul, 'fp32_precision', None) or matmul.allow_tf32


@pytest.mark.parametrize('tf32', [False, True])
def test_puts_everything_back(tf32):
    before = _switch(), torch.get_float32_matmul_precision()
    with pytest.raises(KeyError), float32_products('cpu', tf32=tf32):
        inside = _switch()
        raise KeyError
    assert (_switch(), torch.get_float32_matmul_precision()) == before
    assert inside in (('tf32', True) if tf32 else ('ieee', False))


def test_no_autocast():
    a = torch.randn(3, 4)
    with torch.autocast('cpu', torch.bfloat16):
        assert (a @ a.T).dtype == torch.bfloat16
        with float32_products('cpu'):
            assert (a @ a.T).dtype == torch.float32
        assert (a @ a.T).dtype == torch.bfloat16
