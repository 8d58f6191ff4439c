# SPDX-License-Identifier: Apache-2.0
import hashlib

import numpy as np
import pytest
import torch
from mmengine.config import Config

from mmreid_gcl.apis import ReIDInferencer
from tests.apis.tiny import draw, make_model, save_checkpoint, tiny_cfg

IMAGES = [draw(person) for person in range(4)]


@pytest.fixture
def training(tmp_path):
    """A checkpoint as training leaves it: with an optimiser and with paths."""
    cfg = tiny_cfg(relation=True)
    cfg.work_dir = '/home/somebody/secret'
    cfg.train_dataloader = dict(dataset=dict(data_root='/home/somebody/crops'))
    cfg.model.backbone.init_cfg = dict(type='Pretrained', checkpoint='/home/x.pth')
    model = make_model(cfg=tiny_cfg(relation=True))
    optimizer = torch.optim.Adam(model.parameters())
    model.neck.norm.weight.grad = torch.ones(64)
    optimizer.step()
    path = tmp_path / 'epoch_2.pth'
    torch.save(
        dict(
            meta=dict(cfg=cfg.pretty_text, epoch=2, hook_msgs={}, seed=1),
            state_dict=model.state_dict(),
            optimizer=optimizer.state_dict(),
            pseudo_labels=torch.zeros(1000),
            message_hub=dict(),
        ),
        path,
    )
    return path, model


def test_publish(load_tool, training, tmp_path, capsys):
    path, model = training
    out = tmp_path / 'out' / 'mine.pth'
    assert load_tool('publish_model').main([str(path), str(out)]) == 0
    (written,) = out.parent.iterdir()
    digest = hashlib.sha256(written.read_bytes()).hexdigest()
    assert written.name == f'mine-{digest[:8]}.pth'
    assert str(written) in capsys.readouterr().out
    content = torch.load(written, weights_only=True)
    assert set(content) == {'meta', 'state_dict'}
    assert content['meta']['epoch'] == 2
    for name, value in model.state_dict().items():
        assert torch.equal(content['state_dict'][name], value)
    assert 'somebody' not in written.read_bytes().decode('latin1')
    assert '/home' not in content['meta']['cfg']
    published = ReIDInferencer(written, device='cpu', progress=False)
    before = ReIDInferencer(path, device='cpu', progress=False)
    assert np.array_equal(published(IMAGES), before(IMAGES))
    assert published.model_hash == before.model_hash


def test_with_a_config_file(load_tool, tmp_path, capsys):
    publish = load_tool('publish_model').main
    source = save_checkpoint(tmp_path / 'a.pth', with_config=False)
    assert publish([str(source), str(tmp_path / 'b.pth')]) == 2
    assert 'has no config' in capsys.readouterr().err
    config = tmp_path / 'config.py'
    tiny_cfg().dump(config)
    assert publish([str(source), str(tmp_path / 'b.pth'), f'--config={config}']) == 0
    (written,) = tmp_path.glob('b-*.pth')
    assert ReIDInferencer(written, device='cpu')(IMAGES).shape == (4, 64)


@pytest.mark.parametrize('value', [float('nan'), float('inf')])
def test_weights_that_are_not_finite(load_tool, tmp_path, capsys, value):
    source = save_checkpoint(tmp_path / 'a.pth')
    content = torch.load(source, weights_only=True)
    content['state_dict']['neck.norm.running_var'][3] = value
    torch.save(content, source)
    assert load_tool('publish_model').main([str(source), f'{tmp_path}/b.pth']) == 2
    assert 'neck.norm.running_var holds NaN or Inf' in capsys.readouterr().err
    assert not list(tmp_path.glob('b*'))


def test_refused(load_tool, tmp_path, capsys):
    publish = load_tool('publish_model').main
    out = str(tmp_path / 'b.pth')
    assert publish([str(tmp_path / 'none.pth'), out]) == 2
    assert 'none.pth' in capsys.readouterr().err
    source = save_checkpoint(tmp_path / 'a.pth')
    data = source.read_bytes()
    source.write_bytes(data[: len(data) // 2])
    assert publish([str(source), out]) == 2
    assert 'damaged' in capsys.readouterr().err
    cfg = tiny_cfg(relation=True)
    cfg.dump(tmp_path / 'other.py')
    source.write_bytes(data)
    assert publish([str(source), out, f'--config={tmp_path / "other.py"}']) == 2
    assert 'belongs to another model' in capsys.readouterr().err
    Config(dict(x=1)).dump(tmp_path / 'empty.py')
    assert publish([str(source), out, f'--config={tmp_path / "empty.py"}']) == 2
    assert not list(tmp_path.glob('b*'))
