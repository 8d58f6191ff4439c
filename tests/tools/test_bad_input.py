# SPDX-License-Identifier: Apache-2.0
"""Every kind of bad image, name and folder, through the real tools."""

import json
import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from mmreid_gcl.apis import GalleryIndex
from tests.apis.test_images import png_bomb
from tests.apis.tiny import draw, save_checkpoint, tiny_cfg, write, write_crops


@pytest.fixture
def messy(tmp_path):
    """(folder, names that can be read, names that cannot)."""
    root = write_crops(tmp_path / 'messy', people=4, shots=2)
    folder = root / 'hall'
    for file in folder.iterdir():
        file.unlink()
    image = draw(1, height=80, width=40)
    good = {
        'grey.png': image[..., 0],
        'transparent.png': np.dstack([image, image[..., :1]]),
        'sixteen.png': image.astype(np.uint16) << 8,
        'sixteen_grey.tif': image[..., 0].astype(np.uint16) << 8,
        'улица 東京 🚶 שלום.png': image,
        'UPPER.JPG': image,
        "quote's;comma,.png": image,
    }
    for name, pixels in good.items():
        ending = os.path.splitext(name)[1].lower()
        (folder / name).write_bytes(cv2.imencode(ending, pixels)[1].tobytes())
    Image.fromarray(image).convert('P').save(folder / 'palette.png')
    Image.fromarray(image).convert('CMYK').save(folder / 'cmyk.jpg')
    odd = os.fsdecode(b'not utf-8 \xff.png')
    (folder / odd).write_bytes((folder / 'grey.png').read_bytes())
    good = {*good, 'palette.png', 'cmyk.jpg', odd}

    jpeg = cv2.imencode('.jpg', image)[1].tobytes()
    png = (folder / 'grey.png').read_bytes()
    bad = {
        'zero.jpg': b'',
        'text.jpg': b'this is no image',
        'cut.jpg': jpeg[: len(jpeg) // 2],
        'cut.png': png[: len(png) // 4],
        'bomb.png': png_bomb(60000),
        'huge.png': png_bomb(9000),
    }
    for name, data in bad.items():
        (folder / name).write_bytes(data)
    (folder / 'gone.jpg').symlink_to(folder / 'nothing.jpg')
    (folder / 'itself.jpg').symlink_to('itself.jpg')
    # what is no image at all is left out, not waited for
    (folder / 'loop').symlink_to(root)
    (folder / 'folder.jpg').mkdir()
    if hasattr(os, 'mkfifo'):
        os.mkfifo(folder / 'pipe.jpg')
    (folder / 'Thumbs.db').write_bytes(b'x')
    return root, good, {*bad, 'gone.jpg', 'itself.jpg'}


def hall(names):
    return {name.rpartition('/')[2] for name in names if name.startswith('hall/')}


def test_extract_features(load_tool, trained, messy, tmp_path, capsys):
    root, good, bad = messy
    out = tmp_path / 'a.npz'
    options = [f'--out={out}', '--device=cpu', '--batch-size=3']
    assert load_tool('extract_features').main([trained[1], str(root), *options]) == 3
    with np.load(out) as file:
        data = dict(file)
    assert len(data['features']) == len(data['paths']) == 8 + len(good)
    assert np.isfinite(data['features']).all()
    assert hall(data['paths'].tolist()) == good
    failed = json.loads(str(data['meta']))['failed']
    assert {os.path.basename(path) for path in failed} == bad
    # listed at the very end, each with its reason
    lines = capsys.readouterr().err.strip().splitlines()[-len(bad) :]
    assert all(line.startswith('left out: ') for line in lines)
    reasons = {
        name: next(line for line in lines if f'/{name}:' in line) for name in bad
    }
    assert 'zero bytes' in reasons['zero.jpg']
    assert 'cut off' in reasons['cut.jpg']
    assert 'cannot be decoded' in reasons['text.jpg']
    assert 'too' in reasons['bomb.png'] and 'too many' in reasons['huge.png']
    assert 'cannot be opened' in reasons['gone.jpg']
    assert 'cannot be opened' in reasons['itself.jpg']


def test_cluster(load_tool, trained, messy, tmp_path, capsys):
    root, good, bad = messy
    out = tmp_path / 'clusters'
    options = [f'--out={out}', '--device=cpu', '--sheets=1']
    assert load_tool('cluster').main([trained[1], str(root), *options]) == 3
    table = (out / 'clusters.csv').read_text('utf-8', 'surrogateescape')
    assert len(table.splitlines()) == 1 + 8 + len(good)
    assert all(name in table for name in good - {"quote's;comma,.png"})
    assert capsys.readouterr().err.count('left out: ') == len(bad)


def test_search(load_tool, trained, messy, tmp_path, capsys):
    root, good, bad = messy
    out, sheet = tmp_path / 'a.json', tmp_path / 'a.png'
    queries = [
        root / 'entrance' / '00_0.png',
        root / 'hall' / 'zero.jpg',
        root / 'hall',
    ]
    code = load_tool('search').main(
        [trained[1], str(root), *map(str, queries), '--device=cpu', '--topk=30']
        + [f'--out={out}', f'--sheet={sheet}', f'--save-index={tmp_path / "index"}']
    )
    assert code == 3
    results = json.loads(out.read_text())
    # the link in the folder leads to the 8 of the other camera
    assert len(results) == 1 + len(good) + 8
    assert {len(result['matches']) for result in results} == {8 + len(good)}
    assert sheet.stat().st_size > 1000
    assert len(GalleryIndex.load(tmp_path / 'index')) == 8 + len(good)
    captured = capsys.readouterr()
    assert captured.err.count('left out: ') == len(bad)
    captured.out.encode('utf-8')  # no terminal refuses it


def test_check(messy, load_tool, capsys):
    tool = load_tool('data/check')
    root, _, bad = messy
    for name in ('gone.jpg', 'itself.jpg'):
        assert tool.main(['PersonFolder', str(root)]) == 1
        out = capsys.readouterr().out
        assert 'link to nothing' in out
        (root / 'hall' / name).unlink()
    assert tool.main(['PersonFolder', str(root)]) == 1
    out = capsys.readouterr().out
    for name in bad - {'gone.jpg', 'itself.jpg'}:
        assert f'hall/{name}' in out, name
    assert 'zero bytes' in out and 'truncated' in out


def test_training_names_the_image(messy, load_tool):
    from mmreid_gcl.datasets import PersonFolder

    root, good, _ = messy
    with pytest.raises(FileNotFoundError, match='link to nothing'):
        PersonFolder(str(root))
    for name in ('gone.jpg', 'itself.jpg'):
        (root / 'hall' / name).unlink()
    pipeline = [dict(type='LoadImageFromFile')]
    dataset = PersonFolder(str(root), pipeline=pipeline, order_by_name=True)
    names = [os.path.basename(path) for path in dataset.column('img_path')]
    for name in good:
        image = dataset[names.index(name)]['img']
        assert image.dtype == np.uint8 and image.shape == (80, 40, 3)
    for name in ('zero.jpg', 'text.jpg'):
        with pytest.raises(RuntimeError, match=f'{name}: this image cannot be read'):
            dataset[names.index(name)]


def test_nothing_but_bad_images(load_tool, trained, tmp_path, capsys):
    for i in range(3):
        path = tmp_path / 'crops' / 'a' / f'{i}.jpg'
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    out = tmp_path / 'a.npz'
    options = [str(tmp_path / 'crops'), f'--out={out}', '--device=cpu']
    assert load_tool('extract_features').main([trained[1], *options]) == 2
    assert 'None of 3 images can be read' in capsys.readouterr().err
    assert not out.exists()


def test_one_crop_alone(load_tool, trained, tmp_path):
    write(tmp_path / 'crops' / 'a' / '1.png', draw(1))
    out = tmp_path / 'out'
    options = [str(tmp_path / 'crops'), f'--out={out}', '--device=cpu']
    assert load_tool('cluster').main([trained[1], *options]) == 0
    assert (out / 'clusters.csv').read_text().splitlines()[1] == 'a/1.png,-1,a'


@pytest.fixture
def index(load_tool, trained, crops, tmp_path):
    path = tmp_path / 'index'
    query = str(crops / 'hall' / '00_0.png')
    options = ['--device=cpu', f'--save-index={path}']
    assert load_tool('search').main([trained[1], str(crops), query, *options]) == 0
    return path, query


@pytest.mark.parametrize('name', ['index.faiss', 'gallery.json'])
def test_a_truncated_gallery(load_tool, trained, index, capsys, name):
    path, query = index
    file = path / name
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    assert load_tool('search').main([trained[1], str(path), query, '--device=cpu']) == 2
    error = capsys.readouterr().err
    assert name in error and 'cut off' in error and 'Build the gallery again' in error


def test_a_gallery_of_another_model(load_tool, index, tmp_path, capsys):
    path, query = index
    other = save_checkpoint(tmp_path / 'other.pth', seed=5, cfg=tiny_cfg())
    assert load_tool('search').main([str(other), str(path), query, '--device=cpu']) == 2
    assert 'built with another model' in capsys.readouterr().err


def test_what_is_wrong_is_said_before_the_work(
    load_tool, trained, crops, tmp_path, capsys, monkeypatch
):
    """Embedding 100,000 crops takes an hour; a typing error must not cost it."""
    from mmreid_gcl.apis.inferencer import ReIDInferencer

    def embed(*args, **kwargs):
        raise AssertionError('embedded')

    monkeypatch.setattr(ReIDInferencer, 'extract', embed)
    query = str(crops / 'hall' / '00_0.png')
    search, cluster = load_tool('search').main, load_tool('cluster').main
    base = [trained[1], str(crops)]
    for options in (
        [query, f'--out={tmp_path}/no/a.csv'],
        [query, f'--sheet={tmp_path}/no/a.png'],
        [query, '--sheet=a.gif'],
        [query, '--topk=0'],
    ):
        with pytest.raises(SystemExit) as caught:
            search([*base, *options, '--device=cpu'])
        assert caught.value.code == 2
    assert search([*base, query, 'none.jpg', '--device=cpu']) == 2
    assert 'none.jpg: there is no such query' in capsys.readouterr().err
    out = f'--out={tmp_path / "out"}'
    assert cluster([*base, out, '--device=cpu', '--eps=7']) == 2
    assert '7' in capsys.readouterr().err
    for change, message in (
        ("k1=5, colour='red'", 'the clusterer DBSCANClusterer'),
        ("k1='a'", "k1 must be a whole number of at least 1, got 'a'"),
    ):
        config = tmp_path / 'config.py'
        text = Path(trained[0]).read_text().replace('k1=5', change)
        config.write_text(text)
        options = [f'--checkpoint={trained[1]}', out, '--device=cpu']
        assert cluster([str(config), str(crops), *options]) == 2, change
        assert message in capsys.readouterr().err
    (tmp_path / 'file').touch()
    assert cluster([*base, f'--out={tmp_path / "file"}', '--device=cpu']) == 2
    assert 'expected a folder' in capsys.readouterr().err


def test_the_test_tool_refuses_at_once(
    load_tool, trained, tmp_path, capsys, monkeypatch
):
    import sys

    for arguments, message in (
        ([str(tmp_path / 'none.pth')], 'there is no such checkpoint'),
        ([trained[1], f'--out={tmp_path}/no/a.npz'], 'there is no folder'),
    ):
        monkeypatch.setattr(sys, 'argv', ['test.py', trained[0], *arguments])
        with pytest.raises(SystemExit) as caught:
            load_tool('test').main()
        assert caught.value.code == 2
        assert message in capsys.readouterr().err


@pytest.mark.parametrize('device', ['gpu', 'cuda:77'])
def test_a_device_that_is_not_there(
    load_tool, trained, crops, tmp_path, capsys, device
):
    options = [str(crops), f'--out={tmp_path / "a.npz"}', f'--device={device}']
    assert load_tool('extract_features').main([trained[1], *options]) == 2
    error = capsys.readouterr().err
    assert f'{device!r} cannot be used' in error and "'cpu'" in error


@pytest.mark.parametrize('text', ['model = dict(', 'model = nothing'])
def test_a_broken_config(load_tool, trained, crops, tmp_path, capsys, text):
    config = tmp_path / 'broken.py'
    config.write_text(text)
    options = [f'--checkpoint={trained[1]}', f'--out={tmp_path / "a.npz"}']
    assert load_tool('extract_features').main([str(config), str(crops), *options]) == 2
    assert 'broken.py: this config cannot be read' in capsys.readouterr().err
