# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
import torch.nn.functional as F
from mmengine.optim import OptimWrapper
from mmpretrain.models import ClsDataPreprocessor
from mmpretrain.structures import DataSample

from mmreid_gcl.models import SelectiveMemoryHead
from mmreid_gcl.models.functional.contrastive import soft_consistency_loss
from mmreid_gcl.registry import MODELS

from . import reference
from .tiny import CHANNELS, make_batch, make_model, model_cfg

LABELS = [0, 0, 0, 2, 2, 2]


def test_tensor_mode_is_the_embedding():
    model = make_model().eval()
    images, _ = make_batch(LABELS)
    x = model(images)
    (maps,) = model.backbone(images)
    assert maps.shape == (6, CHANNELS, 2, 1)
    rows = maps.mean(dim=(2, 3)).double().tolist()
    norm = model.neck.norm
    rows = reference.batch_norm(
        rows,
        norm.weight.tolist(),
        [0.0] * CHANNELS,
        mean=norm.running_mean.tolist(),
        var=norm.running_var.tolist(),
    )
    expected = torch.tensor([reference.unit(row) for row in rows])
    torch.testing.assert_close(x, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize('weight', [0.5, 0.0, 2.0])
def test_loss_is_equation_8(weight):
    model = make_model().train()
    model.relation_head.loss_weight = weight
    images, samples = make_batch(LABELS)
    losses = model(images, samples, mode='loss')
    assert list(losses) == ['loss_scl', 'relation_loss_scl']
    x = model.neck(model.backbone(images)).detach()
    refined = model.relation_neck(x).detach()
    own, relation = (
        reference.selective_loss(q.tolist(), LABELS, h.memory.tolist(), 0.05, 2)
        for q, h in ((x, model.head), (refined, model.relation_head))
    )
    assert losses['loss_scl'].item() == pytest.approx(own, rel=1e-4)
    assert losses['relation_loss_scl'].item() == pytest.approx(
        weight * relation, rel=1e-4, abs=1e-9
    )
    total, _ = model.parse_losses(losses)
    assert total.item() == pytest.approx(own + weight * relation, rel=1e-4)


def test_relation_loss_trains_the_backbone():
    model = make_model().train()
    images, samples = make_batch(LABELS)
    model(images, samples, mode='loss')['relation_loss_scl'].backward()
    for parameter in (
        model.backbone.conv1.weight,
        model.relation_neck.theta.linear.weight,
        model.relation_neck.phi.linear.weight,
    ):
        assert parameter.grad.abs().max() > 0


def test_without_relation():
    model = make_model(relation=False).train()
    images, samples = make_batch(LABELS)
    assert list(model(images, samples, mode='loss')) == ['loss_scl']
    assert model.memory_heads == [model.head]
    assert model.relation_neck is None and model.relation_head is None


def test_relation_does_not_change_the_embedding():
    images, _ = make_batch(LABELS)
    alone, both = make_model(relation=False).eval(), make_model().eval()
    alone.load_state_dict(both.state_dict(), strict=False)
    assert torch.equal(alone(images), both(images))


@pytest.mark.parametrize('given', ['relation_neck', 'relation_head'])
def test_only_one_of_neck_and_head(given):
    cfg = model_cfg()
    cfg[given] = None
    with pytest.raises(ValueError, match='Give both, or neither'):
        MODELS.build(cfg)


def test_unknown_mode():
    with pytest.raises(ValueError, match="'tensor', 'loss' or 'predict', got 'train'"):
        make_model()(make_batch([0])[0], mode='train')


def test_two_heads_with_one_name_of_a_loss():
    class Other(SelectiveMemoryHead):
        pass

    head = dict(type='SelectiveMemoryHead', in_channels=CHANNELS)
    cfg = {**model_cfg(relation=False), 'head': [head, {**head, 'type': Other}]}
    model = MODELS.build(cfg)
    for one in model.memory_heads:
        one.init_memory(torch.randn(3, CHANNELS), torch.arange(3))
    with pytest.raises(ValueError, match="'loss_scl'"):
        model(*make_batch([0, 1, 2, 0]), mode='loss')


def test_missing_label_names_the_image():
    model = make_model()
    images, samples = make_batch([0, 0, None, 1])
    with pytest.raises(RuntimeError, match=r'0002\.jpg has no pseudo-label') as caught:
        model(images, samples, mode='loss')
    assert 'PKSampler' in str(caught.value) and 'PseudoLabelHook' in str(caught.value)
    with pytest.raises(RuntimeError, match='an image has no pseudo-label'):
        model(images[:2], [DataSample(), DataSample()], mode='loss')


def test_predict():
    model = make_model().eval()
    images, samples = make_batch([None] * 3)
    out = model(images, samples, mode='predict')
    x = model(images)
    assert [s.img_path for s in out] == ['0000.jpg', '0001.jpg', '0002.jpg']
    assert torch.equal(torch.stack([s.feature for s in out]), x)
    bare = model(images, mode='predict')
    assert len(bare) == 3 and torch.equal(bare[1].feature, x[1])


def test_flip_test():
    model, plain = make_model(flip_test=True).eval(), make_model().eval()
    images, _ = make_batch(LABELS)
    mirrored = images[..., torch.arange(images.shape[-1] - 1, -1, -1)]
    expected = F.normalize((plain(images) + plain(mirrored)) / 2)
    torch.testing.assert_close(model(images), expected, rtol=0, atol=1e-6)
    assert not torch.allclose(model(images), plain(images))
    torch.testing.assert_close(model(images), model(mirrored), rtol=0, atol=1e-6)
    model.train(), plain.train()
    assert torch.equal(model(images), plain(images))  # while training: no effect


def test_channels_last():
    images, samples = make_batch(LABELS)
    model, plain = make_model(channels_last=True), make_model()
    weight = model.backbone.layer1[0].conv1.weight
    assert weight.is_contiguous(memory_format=torch.channels_last)
    close = dict(rtol=1e-3, atol=1e-4)
    for mode in ('eval', 'train'):
        getattr(model, mode)(), getattr(plain, mode)()
        torch.testing.assert_close(model(images), plain(images), **close)
    losses, expected = (m(images, samples, mode='loss') for m in (model, plain))
    torch.testing.assert_close(losses, expected, **close)


def test_state_dict_round_trip():
    """A checkpoint of an epoch with another number of clusters."""
    model, other = make_model(seed=0, clusters=3), make_model(seed=1, clusters=11)
    images, samples = make_batch(LABELS)
    model(images, samples, mode='loss')
    state = model.state_dict()
    assert not [key for key in state if 'memory' in key]
    assert other.load_state_dict(state, strict=True)
    assert other.head.memory.shape == (11, CHANNELS)
    assert torch.equal(model.eval()(images), other.eval()(images))


def test_train_step_learns_and_leaves_the_memory():
    model = make_model()
    wrapper = OptimWrapper(torch.optim.Adam(model.parameters(), lr=1e-3))
    images, samples = make_batch(LABELS)
    before = [head.memory.clone() for head in model.memory_heads]
    data = dict(inputs=list(images), data_samples=samples)
    values = []
    for _ in range(5):
        log = model.train_step(data, wrapper)
        values.append(log['loss'].item())
    assert set(log) == {'loss', 'loss_scl', 'relation_loss_scl'}
    assert values[-1] < values[0]
    for head, memory in zip(model.memory_heads, before):
        assert torch.equal(head.memory, memory)


def test_heads_see_their_own_queries():
    """The two memories move by x and by GCL(x)."""
    model = make_model()
    images, samples = make_batch(LABELS)
    x = model.neck(model.backbone(images)).detach()
    model(images, samples, mode='loss')
    for head, queries in (
        (model.head, x),
        (model.relation_head, model.relation_neck(x).detach()),
    ):
        expected = reference.selective_update(
            head.memory.tolist(), queries.tolist(), LABELS, 0.2, 2
        )
        head.apply_update()
        torch.testing.assert_close(
            head.memory, torch.tensor(expected), rtol=0, atol=1e-4
        )


def two_views(**consistency):
    cfg = model_cfg(
        relation=False, data_preprocessor=dict(mean=[9.0] * 3, std=[5.0] * 3)
    )
    cfg['head'] = [
        dict(type='SelectiveMemoryHead', in_channels=CHANNELS, feature='normed'),
        dict(type='InstanceContrastHead', **consistency),
    ]
    torch.manual_seed(0)
    model = MODELS.build(cfg).train()
    model.memory_heads[0].init_memory(torch.randn(3, CHANNELS), torch.arange(3))
    return model


def test_weak_views_are_embedded_without_gradient():
    images, samples = make_batch(LABELS)
    views = torch.randint(256, (6, 32, 16, 3), dtype=torch.uint8)
    for sample, view in zip(samples, views.numpy()):
        sample.set_field(view, 'weak_view')
    model, twin = two_views(consistency=2.0), two_views()
    seen = []
    loss = model.head[1].loss
    model.head[1].loss = lambda *args: (seen.append(args[2].weak), loss(*args))[1]
    losses = model(images, samples, mode='loss')
    assert list(losses) == ['loss_scl', 'loss_instance', 'loss_consistency']
    assert not seen[0].requires_grad
    twin(images, samples, mode='loss')  # the statistics are of these views alone
    for (name, found), own in zip(model.named_buffers(), twin.buffers()):
        if 'num_batches_tracked' not in name:
            assert torch.equal(found, own), name
    x = twin.neck(twin.backbone(images))
    weak = twin.neck(twin.backbone((views.permute(0, 3, 1, 2) - 9.0) / 5.0)).detach()
    expected = soft_consistency_loss(x, weak)
    assert losses['loss_consistency'].item() == pytest.approx(2 * expected.item())
    losses['loss_consistency'].backward()
    expected.backward()
    found, own = model.backbone.conv1.weight.grad, 2 * twin.backbone.conv1.weight.grad
    assert (found - own).abs().max() < 1e-4 * own.abs().max()


def test_missing_weak_view_says_what_to_add():
    images, samples = make_batch(LABELS)
    with pytest.raises(RuntimeError, match=r"WeakView.*algorithm_keys=\('weak_view',"):
        two_views(consistency=1.0)(images, samples, mode='loss')


def test_data_preprocessor():
    cfg = dict(mean=[1.0, 2.0, 3.0], std=[1.0, 1.0, 2.0])
    for given in (cfg, dict(cfg, type='ClsDataPreprocessor')):
        model = MODELS.build(model_cfg(data_preprocessor=given))
        assert isinstance(model.data_preprocessor, ClsDataPreprocessor)
        assert model.data_preprocessor.mean.flatten().tolist() == [1, 2, 3]
    assert 'type' not in cfg
    assert isinstance(make_model().data_preprocessor, ClsDataPreprocessor)


def test_backbones_that_give_vectors():
    """A transformer's class token passes the pooling."""
    cfg = model_cfg()
    cfg['backbone'] = dict(
        type='VisionTransformer',
        arch=dict(
            embed_dims=CHANNELS,
            num_layers=1,
            num_heads=2,
            feedforward_channels=16,
        ),
        img_size=(32, 16),
        patch_size=16,
    )
    model = MODELS.build(cfg).eval()
    assert model(make_batch(LABELS)[0]).shape == (6, CHANNELS)
