# SPDX-License-Identifier: Apache-2.0
"""The tool that looks at, grows, shrinks and exports a saved gallery."""

import json
import os
import shutil
from datetime import datetime

import numpy as np
import pytest

from mmreid_gcl.apis import GalleryIndex, ReIDInferencer
from tests.apis.test_gallery_index import make_calibration
from tests.apis.tiny import draw, write


@pytest.fixture
def tool(load_tool):
    return load_tool('gallery')


@pytest.fixture
def index(trained, crops, tmp_path):
    inferencer = ReIDInferencer(*trained, device='cpu', progress=False)
    inferencer.build_gallery(crops, tmp_path / 'index')
    return tmp_path / 'index'


def run(tool, *words):
    return tool.main([str(word) for word in words])


def test_show(tool, index, crops, capsys):
    with GalleryIndex.edit(index) as gallery:
        gallery.times[:] = datetime(2026, 1, 31, 12).timestamp()
        gallery.tracks[:4] = [3, 3, 8, 8]
        gallery.calibration = make_calibration(
            model_hash=gallery.model_hash, images=10, threshold=0.25
        )
    assert run(tool, 'show', index) == 0
    shown = capsys.readouterr().out
    for words in (f'30 crops x {gallery.dim}, below {crops}', 'entrance: 15'):
        assert words in shown
    for words in ('2 tracks, of 4 crops', '2026-01-31 12:00:00', 'threshold 0.250'):
        assert words in shown
    assert 'made for searches among 10 images; of 30' in shown
    assert run(tool, 'show', index, '--json') == 0
    found = json.loads(capsys.readouterr().out)
    assert found['cameras'] == dict(entrance=15, hall=15)
    assert (found['images'], found['tracks'], found['first']) == (
        30,
        2,
        datetime(2026, 1, 31, 12).timestamp(),
    )


def test_add(tool, trained, index, crops, capsys, monkeypatch):
    add = ['add', *trained[:1], index, crops, '--checkpoint', trained[1]]
    add += ['--device=cpu', '--json']
    assert run(tool, *add) == 0
    assert json.loads(capsys.readouterr().out)['added'] == 0
    before = GalleryIndex.load(index)
    for shot in range(3):
        write(crops / 'yard' / f'{shot}.png', draw(shot))
    (crops / 'yard' / 'bad.png').write_bytes(b'')
    monkeypatch.setattr(tool, 'PORTION', 2)
    assert run(tool, *add) == 3
    captured = capsys.readouterr()
    assert json.loads(captured.out)['added'] == 3
    assert 'bad.png' in captured.err
    gallery = GalleryIndex.load(index)
    assert gallery.paths == [*before.paths, *(f'yard/{n}.png' for n in range(3))]
    assert gallery.cameras[30:] == ['yard'] * 3
    assert gallery.ids.tolist() == list(range(33))
    assert np.array_equal(gallery.features[:30], before.features)
    inferencer = ReIDInferencer(*trained, device='cpu', progress=False)
    expected = inferencer([crops / 'yard' / f'{n}.png' for n in range(3)])
    assert np.allclose(gallery.features[30:], expected, atol=1e-6)
    assert run(tool, *add) == 3  # the bad one is tried again
    assert json.loads(capsys.readouterr().out)['added'] == 0


@pytest.mark.parametrize('dense', [False, True])
def test_add_keeps_tracks_apart(tool, trained, tmp_path, dense):
    site, index = tmp_path / 'site', tmp_path / 'index'

    def crop(camera, track, frame):
        write(site / camera / f'track_{track:06}' / f'{frame:06}.png', draw(frame))

    crop('hall', 5, 1)
    crop('hall', 9, 2)
    crop('yard', 5, 3)
    inferencer = ReIDInferencer(*trained, device='cpu', progress=False)
    before = inferencer.build_gallery(site, index)
    assert before.tracks.tolist() == [5, 9, 5]
    if dense:  # as galleries had them that knew no tracker's numbers
        with GalleryIndex.edit(index) as gallery:
            gallery.tracks[:] = before.tracks[:] = [0, 1, 2]
    crop('hall', 1, 4)  # sorts first, so that a listing numbers all tracks anew
    crop('hall', 9, 5)
    crop('attic', 5, 6)
    options = ['--checkpoint', trained[1], '--device=cpu']
    assert run(tool, 'add', trained[0], index, site, *options) == 0
    gallery = GalleryIndex.load(index)
    assert gallery.paths[:3] == before.paths
    assert gallery.tracks[:3].tolist() == before.tracks.tolist()
    assert len(gallery) == 6
    numbers = {
        (os.path.dirname(path), int(track))
        for path, track in zip(gallery.paths, gallery.tracks)
    }
    assert numbers == {
        ('attic/track_000005', 5),
        # 1 is another track of the old gallery; 3 is free on all cameras
        ('hall/track_000001', 3 if dense else 1),
        ('hall/track_000005', 0 if dense else 5),
        ('hall/track_000009', 1 if dense else 9),
        ('yard/track_000005', 2 if dense else 5),
    }


@pytest.mark.parametrize(
    'options, left',
    [
        (['--camera=hall'], 15),
        (['--camera=hall', '--camera=entrance'], 0),
        (['--id=3', '--id=20'], 28),
        (['--camera=hall', '--before=2026-01-31T12:00'], 20),
        (['--after=2026-01-31T12:00'], 20),
        (['--older-than=0'], 0),
        (['--path=hall/00_0.png'], 29),
        (['--after=2027-01-01'], 30),
    ],
)
def test_remove(tool, index, options, left, capsys):
    noon = datetime(2026, 1, 31, 12).timestamp()
    with GalleryIndex.edit(index) as gallery:
        gallery.times[:] = noon - 1
        gallery.times[:5] = gallery.times[-5:] = noon
    assert run(tool, 'remove', index, *options, '--json') == 0
    assert json.loads(capsys.readouterr().out) == dict(
        removed=30 - left, images=left, failed={}
    )
    assert len(GalleryIndex.load(index)) == left


def test_add_after_the_crops_were_moved(tool, trained, index, crops, tmp_path, capsys):
    moved = crops.rename(tmp_path / 'moved')
    options = ['--checkpoint', trained[1], '--device=cpu', '--json']
    add = ['add', trained[0], index, moved, *options]
    assert run(tool, *add, f'--root={moved}') == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)['added'] == 0 and 'twice' not in captured.err
    assert run(tool, *add) == 0
    assert 'in the gallery twice' in capsys.readouterr().err
    assert len(GalleryIndex.load(index)) == 60


def test_add_from_a_folder_with_other_cameras(tool, trained, index, crops, capsys):
    options = ['--checkpoint', trained[1], '--device=cpu', '--camera=1']
    for shot in (1, 2):
        write(crops / 'hall' / 'left' / f'{shot}.png', draw(shot))
    assert run(tool, 'add', trained[0], index, crops / 'hall', *options[:3]) == 2
    assert "its camera is 'hall' in the gallery" in capsys.readouterr().err
    assert len(GalleryIndex.load(index)) == 30


def test_times_that_are_no_dates_are_shown(tool, index, capsys):
    with GalleryIndex.edit(index) as gallery:
        gallery.times[0] = 1e300
    assert run(tool, 'show', index) == 0
    assert 'to 1e+300 s after 1970' in capsys.readouterr().out


def test_merge(tool, index, tmp_path, capsys):
    other = tmp_path / 'other'
    shutil.copytree(index, other)
    assert run(tool, 'remove', index, '--camera=hall') == 0
    assert run(tool, 'merge', index, other) == 2  # entrance is in both
    assert 'twice' in capsys.readouterr().err
    assert len(GalleryIndex.load(index)) == 15
    assert run(tool, 'remove', other, '--camera=entrance') == 0
    assert run(tool, 'merge', index, other) == 0
    gallery = GalleryIndex.load(index)
    assert gallery.cameras == ['entrance'] * 15 + ['hall'] * 15


def test_export(tool, index, tmp_path, capsys):
    pytest.importorskip('pyarrow')
    from mmreid_gcl.apis import read_parquet

    assert run(tool, 'export', index, f'--parquet={tmp_path / "a.parquet"}') == 0
    gallery = GalleryIndex.load(index)
    again = read_parquet(tmp_path / 'a.parquet', gallery.model_hash)
    assert again.paths == gallery.paths
    assert np.array_equal(again.features, gallery.features)


@pytest.mark.parametrize(
    'words, message',
    [
        (['show', 'nowhere'], 'nowhere'),
        (['remove', 'INDEX'], 'say which'),
        (['remove', 'INDEX', '--camera=roof'], "no camera 'roof'"),
        (['remove', 'INDEX', '--path=x.png'], "no path 'x.png'"),
        (['remove', 'INDEX', '--before=soon'], 'soon'),
        (['remove', 'INDEX', '--after=2026'], '2026'),
        (['remove', 'INDEX', '--after=nan'], 'nan'),
        (['remove', 'INDEX', '--after=1712011231234'], '1712011231234'),
        (['remove', 'INDEX', '--before=2026-01-31', '--older-than=1'], 'not both'),
        (['remove', 'INDEX', '--older-than=-1'], '0 or more'),
        (['merge', 'INDEX', 'nowhere'], 'nowhere'),
        (['export', 'INDEX'], '--parquet FILE or --qdrant'),
    ],
)
def test_refused(tool, index, words, message, capsys):
    before = (index / 'gallery.json').read_bytes()
    try:
        code = run(tool, *(index if word == 'INDEX' else word for word in words))
    except SystemExit as stop:
        code = stop.code
    assert code == 2
    assert message in capsys.readouterr().err
    assert (index / 'gallery.json').read_bytes() == before
