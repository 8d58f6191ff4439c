# SPDX-License-Identifier: Apache-2.0
"""tools/adapt.py, from a folder of tracks to a report and a checkpoint."""

import json

import numpy as np
import pytest
import torch

from mmreid_gcl.apis import ReIDInferencer
from mmreid_gcl.apis.folder import list_folder
from mmreid_gcl.apis.images import read_image
from mmreid_gcl.clustering import (
    DBSCANClusterer,
    adjusted_rand_index,
    graph_silhouette,
    track_summary,
)
from mmreid_gcl.registry import TASK_UTILS
from tests.apis.tiny import draw, make_model, save_checkpoint, tiny_cfg, write

CLUSTERER = dict(type='DBSCANClusterer', eps=0.6, min_samples=2, k1=6, k2=2)


@pytest.fixture(scope='module')
def site(tmp_path_factory):
    """Six people, tracks of four images in two cameras, darker than the first site."""
    root = tmp_path_factory.mktemp('site')
    for person in range(6):
        for camera, name in enumerate(('door', 'hall')):
            for shot in range(4):
                image = draw(person, 10 * camera + shot) // (2 + camera)
                frame = 10 * (person // 2) + shot  # two people at a time
                write(root / f'{name}/track_{person:06d}/{frame:06d}.png', image)
    return root


@pytest.fixture(scope='module', params=['plain', 'tracks'])
def model(request, tmp_path_factory):
    """A checkpoint with its config."""
    clusterer = CLUSTERER
    if request.param == 'tracks':
        clusterer = dict(type='TrackClusterer', clusterer=CLUSTERER)
    cfg = tiny_cfg(relation=True)
    cfg.default_hooks = dict(
        pseudo_labels=dict(
            type='PseudoLabelHook',
            clusterer=clusterer,
            graphs=dict(type='OrderedGraphs', order='camera_time', size=4),
        )
    )
    path = tmp_path_factory.mktemp('model') / 'model.pth'
    save_checkpoint(path, cfg=cfg)
    return path, DBSCANClusterer() if request.param == 'tracks' else None


def judged(inferencer, site, clusterer, before=None):
    """(scalars, labels) of embeddings that are clustered without GCL and tracks."""
    images = list_folder(site)
    images = images.select(np.argsort(images.place))
    clusterer = clusterer or TASK_UTILS.build(CLUSTERER)
    labels = clusterer(inferencer(images.files()), images.records())
    scalars = dict(
        clusters=labels.max() + 1,
        outliers=(labels < 0).sum(),
        silhouette=graph_silhouette(clusterer.distances_, labels),
        **track_summary(labels, images.records()),
    )
    if before is not None:
        scalars['stability'] = adjusted_rand_index(labels, before)
    return scalars, labels


def test_statistics_and_report(load_tool, model, site, tmp_path, capsys):
    path, clusterer = model
    out, other = tmp_path / 'adapted.pth', tmp_path / 'other.pth'
    save_checkpoint(other, seed=1, cfg=tiny_cfg(relation=True), with_config=False)
    options = [f'--out={out}', f'--compare={other}', '--device=cpu', '--batch-size=20']
    assert load_tool('adapt').main([str(path), str(site), *options, '--json']) == 0
    captured = capsys.readouterr()
    result = json.loads(captured.out)
    assert result['images'] == 48 and result['file'] == str(out)
    assert list(result['report']) == ['before', 'statistics', str(other)]

    # the checkpoint is an ordinary one, and has what the images say
    before = ReIDInferencer(path, device='cpu', progress=False)
    adapted = ReIDInferencer(out, device='cpu', progress=False)
    weights = torch.load(out, weights_only=True)['state_dict']
    untouched = make_model(cfg=tiny_cfg(relation=True)).state_dict()
    for name, value in untouched.items():
        reached = 'running' in name and not name.startswith('relation_neck')
        if not name.endswith('num_batches_tracked'):
            assert torch.equal(value, weights[name]) != reached, name
    pixels = [read_image(file)[..., ::-1] for file in list_folder(site).files()]
    dark = torch.tensor(np.stack(pixels)).float().mean() < 80
    assert dark and not np.allclose(before(pixels[0]), adapted(pixels[0]), atol=1e-3)

    again = ReIDInferencer(path, other, device='cpu', progress=False)
    expected, first = judged(before, site, clusterer)
    columns = [(expected, 'before')]
    for inferencer, name in ((adapted, 'statistics'), (again, str(other))):
        columns.append((judged(inferencer, site, clusterer, first)[0], name))
    for expected, name in columns:
        for key, value in expected.items():
            assert result['report'][name][key] == pytest.approx(value, abs=1e-4), key
    assert 'stability' not in result['report']['before']
    lines = captured.err.splitlines()
    (row,) = [line for line in lines if line.startswith('tracks in one cluster')]
    shares = [result['report'][name]['whole_tracks'] for _, name in columns]
    assert row.split()[4:] == [f'{share:.1%}' for share in shares]


def test_the_order_of_the_folder_does_not_matter(load_tool, model, site, tmp_path):
    """Batches mix cameras, whose images differ, and the result can be repeated."""
    path, _ = model
    files = [tmp_path / name for name in ('a.pth', 'b.pth')]
    for file in files:
        options = [f'--out={file}', '--device=cpu', '--batch-size=24']
        assert load_tool('adapt').main([str(path), str(site), *options]) == 0
    one, other = (torch.load(file, weights_only=True)['state_dict'] for file in files)
    assert all(torch.equal(one[name], other[name]) for name in one)
    # a batch a camera: the variance between the cameras is lost
    sorted_by_camera = ReIDInferencer(path, device='cpu', batch_size=24, progress=False)
    assert sorted_by_camera.reestimate_norms(list_folder(site).files()) == 48
    state = sorted_by_camera.model.state_dict()
    name = 'backbone.bn1.running_var'
    assert state[name].sum() < one[name].sum()


def test_refused(load_tool, model, site, tmp_path, capsys):
    adapt, (path, _) = load_tool('adapt').main, model
    common = [str(path), str(site), '--device=cpu']
    for options, message in (
        ([], 'give --out FILE, --compare CHECKPOINT, or both'),
        ([f'--out={tmp_path / "a.txt"}'], 'ends in .pth'),
        ([f'--out={tmp_path / "no/a.pth"}'], 'no folder that may be written to'),
    ):
        with pytest.raises(SystemExit) as caught:
            adapt([*common, *options])
        assert caught.value.code == 2 and message in capsys.readouterr().err
    out = tmp_path / 'a.pth'
    assert adapt([*common, f'--compare={tmp_path / "none.pth"}']) == 2
    assert 'there is no such checkpoint' in capsys.readouterr().err
    small = save_checkpoint(tmp_path / 'small.pth')
    assert adapt([*common, f'--compare={small}']) == 2
    assert 'belongs to another model' in capsys.readouterr().err
    single = tmp_path / 'single'
    write(single / 'door' / 'a.png', draw(0))
    assert adapt([str(path), str(single), '--device=cpu', f'--out={out}']) == 2
    assert 'at least two images' in capsys.readouterr().err
    assert not out.exists()


def test_what_cannot_be_read_is_left_out(load_tool, model, site, tmp_path, capsys):
    folder = tmp_path / 'folder'
    folder.mkdir()
    for name in ('door', 'hall'):
        (folder / name).symlink_to(site / name)
    (folder / 'attic').mkdir()
    (folder / 'attic' / 'bad.png').write_bytes(b'no image')
    out = tmp_path / 'a.pth'
    code = load_tool('adapt').main([str(model[0]), str(folder), f'--out={out}'])
    assert code == 3 and out.is_file()
    captured = capsys.readouterr()
    assert 'bad.png' in captured.err.splitlines()[-1]
    assert 'the statistics of 48 images' in captured.out
