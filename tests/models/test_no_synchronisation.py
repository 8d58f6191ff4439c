# SPDX-License-Identifier: Apache-2.0
import pytest
import torch

from mmreid_gcl.models import GCLNeck, SelectiveMemoryHead


@pytest.mark.gpu
@pytest.mark.parametrize('policy', ['selective', 'average', 'random'])
def test_head_and_update_never_wait_for_the_device(policy):
    device = torch.device('cuda')
    torch.manual_seed(0)
    neck = GCLNeck(64).to(device)
    heads = [
        SelectiveMemoryHead(64, policy=policy),
        SelectiveMemoryHead(128, policy=policy),
    ]
    x = torch.randn(32, 64, device=device, requires_grad=True)
    labels = torch.arange(8, device=device).repeat_interleave(4)
    for head, width in zip(heads, (64, 128)):
        head.to(device)
        head.init_memory(torch.randn(40, width, device=device), labels.repeat(2)[:40])
    before = [head.memory.clone() for head in heads]
    # the first calls load kernels, which waits
    for mode in ('default', 'error'):
        torch.cuda.set_sync_debug_mode(mode)
        try:
            losses = {**heads[0].loss(x, labels)}
            losses['relation'] = heads[1].loss(neck(x), labels)['loss_scl']
            sum(losses.values()).backward()
            for head in heads:
                head.apply_update()
        finally:
            torch.cuda.set_sync_debug_mode('default')
    assert all((head.memory != old).any() for head, old in zip(heads, before))
