# SPDX-License-Identifier: Apache-2.0
"""search, extract_features and cluster, from a command line to files."""

import csv
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmengine.config import Config

from mmreid_gcl.apis import GalleryIndex, ReIDInferencer
from mmreid_gcl.apis.folder import FolderImages
from mmreid_gcl.clustering import DBSCANClusterer
from tests.apis.tiny import CHANNELS, draw, save_checkpoint, tiny_cfg, write


def rows(path):
    with open(path, newline='', encoding='utf-8') as file:
        return list(csv.DictReader(file))


def test_search(load_tool, trained, crops, tmp_path, capsys):
    config, weights = trained
    out, sheet, index = (tmp_path / name for name in ('a.csv', 'a.png', 'index'))
    query = crops / 'hall' / '02_1.png'
    options = ['--device=cpu', '--topk=4', f'--out={out}', f'--sheet={sheet}']
    code = load_tool('search').main(
        [config, str(crops), str(query), f'--checkpoint={weights}', *options]
        + [f'--save-index={index}', '--exclude-camera=hall']
    )
    assert code == 0
    found = rows(out)
    assert [row['rank'] for row in found] == ['1', '2', '3', '4']
    assert {row['query'] for row in found} == {str(query)}
    assert {row['camera'] for row in found} == {'entrance'}
    scores = [float(row['score']) for row in found]
    assert scores == sorted(scores, reverse=True)
    printed = capsys.readouterr().out
    assert all(row['path'] in printed for row in found)
    assert cv2.imread(str(sheet)).std() > 10

    # the saved index gives the same, by the checkpoint alone
    again = tmp_path / 'a.json'
    code = load_tool('search').main(
        [weights, str(index), str(query), '--device=cpu', '--topk=4']
        + [f'--out={again}', '--only-camera=entrance']
    )
    assert code == 0
    (result,) = json.loads(again.read_text())
    assert [match['path'] for match in result['matches']] == [r['path'] for r in found]
    assert len(GalleryIndex.load(index)) == 30


def test_search_replaces_no_index(load_tool, trained, crops, tmp_path, capsys):
    search = load_tool('search').main
    index, query = tmp_path / 'index', str(crops / 'hall' / '02_1.png')
    command = [trained[1], str(crops), query, '--device=cpu', f'--save-index={index}']
    assert search(command) == 0
    with GalleryIndex.edit(index) as gallery:
        gallery.remove(cameras='hall')
    capsys.readouterr()
    assert search(command) == 2
    assert 'holds a gallery' in capsys.readouterr().err
    assert len(GalleryIndex.load(index)) == 15
    assert search([*command, '--overwrite']) == 0
    assert len(GalleryIndex.load(index)) == 30
    command[-1] = f'--save-index={crops / "hall"}'
    assert search(command) == 2
    assert 'is no empty folder' in capsys.readouterr().err
    assert not list((crops / 'hall').glob('*.json'))


def test_search_with_a_folder_of_queries(load_tool, trained, crops, tmp_path, capsys):
    code = load_tool('search').main(
        [trained[1], str(crops), str(crops / 'hall'), '--topk=1', '--device=cpu']
        + [f'--out={tmp_path / "a.csv"}']
    )
    assert code == 0
    found = rows(tmp_path / 'a.csv')
    assert len(found) == 15
    assert all(row['path'] == row['query'] for row in found)


def test_search_in_other_cameras(load_tool, trained, crops, tmp_path, capsys):
    search = load_tool('search').main
    out = tmp_path / 'a.csv'
    queries = [str(crops / camera / '02_1.png') for camera in ('hall', 'entrance')]
    options = ['--device=cpu', f'--out={out}', '--other-cameras']
    assert search([trained[1], str(crops), *queries, '--topk=99', *options]) == 0
    found = rows(out)
    assert {(row['query'], row['camera']) for row in found} == {
        (queries[0], 'entrance'),
        (queries[1], 'hall'),
    }
    assert len(found) == 30
    options[-1] = '--best-per-camera'
    assert search([trained[1], str(crops), queries[0], *options]) == 0
    best = rows(out)
    assert [row['rank'] for row in best] == ['1', '2']
    assert [row['camera'] for row in best] == ['hall', 'entrance']  # itself, another
    assert best[1]['path'] == found[0]['path']
    stranger = write(tmp_path / 'x.png', draw(2))
    options[-1] = '--other-cameras'
    assert search([trained[1], str(crops), str(stranger), *options]) == 2
    assert 'x.png is no crop of the gallery' in capsys.readouterr().err


def test_search_with_moved_crops(load_tool, trained, crops, tmp_path, capsys):
    search = load_tool('search').main
    query = write(tmp_path / 'x.png', draw(2))
    base = [trained[1], str(tmp_path / 'index'), str(query), '--device=cpu']
    folder = [trained[1], str(crops), str(query), '--device=cpu', '--topk=1']
    assert search([*folder, f'--save-index={tmp_path / "index"}']) == 0
    crops.rename(tmp_path / 'moved')
    files = [f'--out={tmp_path / "a.csv"}', f'--sheet={tmp_path / "a.png"}']
    capsys.readouterr()
    assert search([*base, *files]) == 2
    captured = capsys.readouterr()
    assert '--root' in captured.err and not captured.out
    assert not list(tmp_path.glob('a.*'))  # nothing was done
    assert search([*base, *files, f'--root={tmp_path / "moved"}']) == 0
    assert rows(tmp_path / 'a.csv')[0]['path'].startswith(str(tmp_path / 'moved'))
    assert (tmp_path / 'a.png').is_file()
    assert search([trained[1], str(tmp_path / 'moved'), *base[2:], '--root=x']) == 2
    assert '--root is for a saved index' in capsys.readouterr().err


def test_names_in_the_features_file(load_tool, trained, tmp_path):
    for name in ('query/cam2/anna/1.png', 'query/cam10/ben/1.png'):
        write(tmp_path / 'crops' / name, draw(1))
    out = tmp_path / 'a.npz'
    options = ['--device=cpu', '--split=query', f'--out={out}']
    assert (
        load_tool('extract_features').main(
            [trained[1], str(tmp_path / 'crops'), *options]
        )
        == 0
    )
    with np.load(out) as data:
        assert data['paths'].tolist() == [
            'query/cam10/ben/1.png',
            'query/cam2/anna/1.png',
        ]
        assert data['cameras'].tolist() == ['cam10', 'cam2']
        assert data['camids'].tolist() == [1, 0]
        assert data['identities'].tolist() == ['ben', 'anna']
        assert data['pids'].tolist() == [1, 0]


def test_extract_features(load_tool, trained, crops, tmp_path):
    config, weights = trained
    out = tmp_path / 'features.npz'
    code = load_tool('extract_features').main(
        [config, str(crops), f'--checkpoint={weights}', f'--out={out}', '--device=cpu']
    )
    assert code == 0
    with np.load(out) as file:
        data = dict(file)
    inferencer = ReIDInferencer(config, weights, 'cpu', progress=False)
    assert data['features'].shape == (30, CHANNELS)
    for i in (0, 7, 29):
        expected = inferencer(crops / data['paths'][i])[0]
        assert np.allclose(data['features'][i], expected, atol=1e-5)
    assert data['paths'].tolist() == sorted(data['paths'].tolist())
    assert data['cameras'].tolist() == ['entrance'] * 15 + ['hall'] * 15
    assert data['camids'].tolist() == [0] * 15 + [1] * 15
    assert (data['pids'] == -1).all() and set(data['identities']) == {''}
    meta = json.loads(str(data['meta']))
    assert meta['model_hash'] == inferencer.model_hash and meta['failed'] == {}


def test_cluster(load_tool, trained, crops, tmp_path):
    config, weights = trained
    out = tmp_path / 'clusters'
    code = load_tool('cluster').main(
        [config, str(crops), f'--checkpoint={weights}', f'--out={out}', '--device=cpu']
        + ['--no-refine', '--sheets=1']
    )
    assert code == 0
    found = rows(out / 'clusters.csv')
    assert [row['path'] for row in found] == sorted(
        str(path.relative_to(crops)) for path in crops.rglob('*.png')
    )
    inferencer = ReIDInferencer(config, weights, 'cpu', progress=False)
    clusterer = DBSCANClusterer(eps=0.6, min_samples=2, k1=5, k2=2)
    labels = clusterer(inferencer([crops / row['path'] for row in found]))
    assert [int(row['label']) for row in found] == labels.tolist()
    assert len(set(labels)) > 3
    assert cv2.imread(str(out / 'sheet_001.png')).std() > 10
    where = rows(out / 'where.csv')
    assert sum(int(row['images']) for row in where) == (labels >= 0).sum()
    for row in where:
        mine = [
            r['path']
            for r in found
            if (r['label'], r['camera']) == (row['label'], row['camera'])
        ]
        assert (row['first'], row['last']) == (mine[0], mine[-1])
        assert int(row['images']) == len(mine)


def test_the_options_of_a_cluster_reach_the_clusterer_of_tracks(load_tool):
    tool = load_tool('cluster')
    inner = dict(type='DBSCANClusterer', eps=0.5, min_samples=2, k1=8, k2=2)
    clusterer = dict(type='TrackClusterer', clusterer=inner)
    config = Config(
        dict(default_hooks=dict(x=dict(type='PseudoLabelHook', clusterer=clusterer)))
    )
    args = tool.parse_args(['model.pth', 'crops', '--eps=0.3', '--k1=5'])
    found = tool.build_labeller(args, config).clusterer
    assert type(found).__name__ == 'TrackClusterer'
    assert (found.clusterer.eps, found.clusterer.k1, found.clusterer.k2) == (0.3, 5, 2)
    assert inner['eps'] == 0.5  # the config stays


def test_who_was_where(load_tool, tmp_path, capsys):
    """By sequence and frame; large clusters first; outliers are nobody."""
    labels = np.array([1, 0, 1, -1, 1, 0])
    columns = dict(sequence=np.zeros(6, int), frame=np.array([9, 8, 7, 6, 5, 4]))
    images = FolderImages(
        tmp_path,
        [f'{c}/{i}.png' for i, c in enumerate('abaabb')],
        list('abaabb'),
        [''] * 6,
        columns,
        np.arange(6),
    )
    load_tool('cluster').write_where(tmp_path / 'a.csv', labels, images, shown=1)
    assert [list(row.values()) for row in rows(tmp_path / 'a.csv')] == [
        ['1', 'b', '1', 'b/4.png', 'b/4.png'],
        ['1', 'a', '2', 'a/2.png', 'a/0.png'],
        ['0', 'b', '2', 'b/5.png', 'b/1.png'],
    ]
    printed = capsys.readouterr().out
    assert 'cluster 1: b 1 (4.png to 4.png), a 2 (2.png to 0.png)' in printed
    assert 'and 1 more' in printed and 'cluster 0' not in printed


def write_site(folder, frames=4, people=6):
    """hall.avi and gate.avi, where people stand in a row, and their tracks."""
    for camera, name in enumerate(('gate', 'hall')):
        lines = []
        codec = cv2.VideoWriter_fourcc(*'MJPG')
        writer = cv2.VideoWriter(str(folder / f'{name}.avi'), codec, 5, (160, 48))
        for frame in range(1, frames + 1):
            picture = np.zeros((48, 160, 3), np.uint8)
            for person in range(people):
                left, track = 2 + 26 * person, 1 + (person + camera) % people
                crop = draw(person, 10 * camera + frame)
                picture[4:44, left : left + 20] = crop
                lines.append(f'{frame},{track},{left},4,20,40,1,-1,-1,-1')
            writer.write(picture)
        writer.release()
        (folder / f'{name}.txt').write_text('\n'.join(lines))


def test_from_a_video_to_clusters(load_tool, trained, tmp_path, monkeypatch):
    from mmreid_gcl.clustering import Labeller

    write_site(tmp_path)
    convert = load_tool('dataset_converters/tracks_to_crops').main
    crops, out = tmp_path / 'crops', tmp_path / 'clusters'
    for name in ('gate', 'hall'):
        files = [str(tmp_path / f'{name}{ending}') for ending in ('.txt', '.avi')]
        assert convert([*files, str(crops / name), '--at-most', '3']) == 0
    seen = {}
    original = Labeller.__call__

    def remember(self, features, records, *args):
        seen.update(records)
        return original(self, features, records, *args)

    monkeypatch.setattr(Labeller, '__call__', remember)
    options = [trained[1], str(crops), f'--out={out}', '--device=cpu', '--no-refine']
    assert load_tool('cluster').main([*options, '--sheets=1']) == 0
    found = rows(out / 'clusters.csv')
    assert len(found) == 2 * 6 * 3
    assert {row['camera'] for row in found} == {'gate', 'hall'}
    # twelve tracks of three images, each the images of one folder
    folders = [str(Path(path).parent) for path in seen['img_path']]
    pairs = set(zip(folders, seen['track'].tolist()))
    assert len(pairs) == len(set(folders)) == len(set(seen['track'])) == 12
    assert sorted(set(seen['frame'].tolist())) == [1, 3, 4]
    by_track = {}
    for row in found:
        by_track.setdefault(str(Path(row['path']).parent), set()).add(row['label'])
    assert sum(len(labels) == 1 for labels in by_track.values()) > 6


def test_one_cluster_of_all_is_said(load_tool, trained, crops, tmp_path, capsys):
    options = ['--device=cpu', '--no-refine', f'--out={tmp_path / "a"}']
    arguments = [trained[0], str(crops), f'--checkpoint={trained[1]}', *options]
    assert load_tool('cluster').main([*arguments, '--k1=30', '--k2=6']) == 0
    told = capsys.readouterr().err
    assert 'warning: Clustering found one cluster in 30 images' in told
    assert 'k1=5 k2=1' in told and 'eps=0.6' in told
    assert load_tool('cluster').main(arguments) == 0
    assert 'warning' not in capsys.readouterr().err


def test_cluster_refines_as_in_training(load_tool, trained, crops, tmp_path):
    """The option changes what is clustered, so refinement is on without it."""
    tool = load_tool('cluster')
    seen = {}

    def remember(self, features, records, neck, epoch):
        seen.update(neck=neck, rows=neck and self.build_graphs(features, records))
        raise ValueError('enough')

    from mmreid_gcl.clustering import Labeller

    original, Labeller.__call__ = Labeller.__call__, remember
    try:
        options = [trained[1], str(crops), f'--out={tmp_path}', '--device=cpu']
        assert tool.main(options) == 2
        assert seen['neck'] is not None and seen['rows'].shape == (30, 4)
        assert tool.main([*options, '--no-refine']) == 2
        assert seen['neck'] is None
    finally:
        Labeller.__call__ = original


@pytest.mark.parametrize('flip', [False, True])
def test_cluster_embeds_mirror_images_as_training_does(
    load_tool, crops, tmp_path, monkeypatch, flip
):
    from mmreid_gcl.apis.publish import publish_checkpoint
    from mmreid_gcl.clustering import Labeller

    cfg = tiny_cfg()
    hook = dict(type='PseudoLabelHook', extract=dict(flip=flip, batch_size=8))
    cfg.default_hooks = dict(pseudo_labels=hook)
    save_checkpoint(tmp_path / 'model.pth', cfg=cfg)
    published = publish_checkpoint(tmp_path / 'model.pth', tmp_path / 'mine.pth')
    seen = []

    def remember(self, features, *_):
        seen.append(features.numpy())
        raise ValueError('enough')

    monkeypatch.setattr(Labeller, '__call__', remember)
    for path in (tmp_path / 'model.pth', published):
        options = [str(path), str(crops), f'--out={tmp_path / "x"}', '--device=cpu']
        assert load_tool('cluster').main(options) == 2
    inferencer = ReIDInferencer(str(published), device='cpu', progress=False)
    images = [cv2.imread(str(path)) for path in sorted(crops.rglob('*.png'))]
    expected = inferencer(images)
    if flip:
        both = expected + inferencer([image[:, ::-1] for image in images])
        expected = both / np.linalg.norm(both, axis=1, keepdims=True)
    for features in seen:
        assert np.allclose(features, expected, atol=1e-5)
    assert len(seen) == 2


def test_sheets_show_all_clusters_once(load_tool, tmp_path, monkeypatch):
    """Twelve clusters a sheet, the largest first, none twice, counted as a whole."""
    import mmreid_gcl.visualization as module

    tool = load_tool('cluster')
    image = write(tmp_path / 'a.png', draw(0))
    labels = np.concatenate([np.repeat(np.arange(30), np.arange(1, 31)), [-1] * 7])
    figures = []
    monkeypatch.setattr(module, 'save_figure', lambda f, path, **_: figures.append(f))
    count = len(labels)
    unknown = np.full(count, -1)
    images = FolderImages(
        tmp_path,
        ['a.png'] * count,
        ['cam2'] * count,
        [''] * count,
        dict(img_path=np.array([str(image)] * count)),
        unknown,
    )
    tool.write_sheets(tmp_path, labels, images, 10)
    written = [[t.get_text() for t in figure.axes[0].texts] for figure in figures]
    assert [words[1] for words in written] == [
        '12 of 30 clusters, largest first; 7 of 472 images are outliers',
        'Clusters 13 to 24 of 30, largest first; 7 of 472 images are outliers',
        'Clusters 25 to 30 of 30, largest first; 7 of 472 images are outliers',
    ]
    shown = [
        int(t.split()[1][:-1]) for words in written for t in words if 'image' in t[:20]
    ]
    assert shown == list(range(29, -1, -1))
    assert 'cam2' in written[0] and 'cam cam2' not in written[0]


@pytest.mark.parametrize('tool', ['search', 'extract_features', 'cluster'])
def test_a_bad_crop_does_not_end_the_job(
    load_tool, trained, crops, tmp_path, capsys, tool
):
    bad = crops / 'hall' / 'Ω_1.png'
    bad.write_bytes(b'')
    outs = dict(search='a.csv', extract_features='a.npz', cluster='a')
    query = [str(crops / 'hall' / '00_0.png')] if tool == 'search' else []
    out = tmp_path / outs[tool]
    code = load_tool(tool).main(
        [trained[1], str(crops), *query, f'--out={out}', '--device=cpu']
    )
    assert code == 3
    assert out.exists()
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.startswith('left out:') and bad.name in last and 'zero bytes' in last


@pytest.mark.parametrize(
    'arguments,message',
    [
        (['none.py', '{crops}'], 'none.py'),
        (['{weights}', '{crops}/none'], 'none: no such folder'),
        (['{config}', '{crops}', '--checkpoint={other}'], 'belongs to another model'),
        (['{config}', '{crops}', '--cfg-options', 'model.flipp=1'], 'flipp'),
        (['{config}', '{crops}', '--cfg-options', 'model.type=Nothing'], 'Nothing'),
        (['{weights}', '{crops}', '--pattern=('], 'pattern'),
        (['{weights}', '{crops}', '--annotation=none.csv'], 'none.csv'),
    ],
)
def test_what_a_user_can_mend(
    load_tool, trained, crops, tmp_path, capsys, arguments, message
):
    other = tmp_path / 'other.pth'
    cfg = tiny_cfg()
    cfg.model.neck.in_channels = 32
    save_checkpoint(other, cfg=cfg)
    names = dict(config=trained[0], weights=trained[1], crops=crops, other=other)
    arguments = [argument.format(**names) for argument in arguments]
    out = tmp_path / 'a.npz'
    code = load_tool('extract_features').main(
        [*arguments[:2], f'--out={out}', '--device=cpu', *arguments[2:]]
    )
    assert code == 2 and not out.exists()
    error = capsys.readouterr().err
    assert message in error and 'Traceback' not in error


def test_search_refuses(load_tool, trained, crops, tmp_path, capsys):
    search = load_tool('search').main
    base = [trained[1], str(crops)]
    assert search([*base, str(tmp_path / 'none.jpg'), '--device=cpu']) == 2
    assert 'none.jpg' in capsys.readouterr().err
    query = str(crops / 'hall' / '00_0.png')
    assert search([*base, query, '--device=cpu', '--only-camera=roof']) == 2
    assert "no camera 'roof'" in capsys.readouterr().err
    with pytest.raises(SystemExit) as caught:
        search([*base, query, '--out=a.xlsx'])
    assert caught.value.code == 2


def test_json(load_tool, trained, crops, tmp_path, capsys):
    query = str(crops / 'hall' / '00_0.png')
    base = [trained[1], str(crops)]
    options = ['--device=cpu', '--json']
    assert load_tool('search').main([*base, query, '--topk=2', *options]) == 0
    found = json.loads(capsys.readouterr().out)
    (result,) = found['results']
    assert result['query'] == query and found['failed'] == {}
    assert result['matches'][0]['path'] == query
    assert [match['rank'] for match in result['matches']] == [1, 2]

    out = f'--out={tmp_path / "clusters"}'
    assert load_tool('cluster').main([*base, out, '--sheets=0', *options]) == 0
    found = json.loads(capsys.readouterr().out)
    table = rows(tmp_path / 'clusters' / 'clusters.csv')
    assert [{**row, 'label': int(row['label'])} for row in table] == found['labels']
    labels = {row['label'] for row in found['labels']} - {-1}
    assert (found['images'], found['clusters']) == (30, len(labels))

    out = f'--out={tmp_path / "a.npz"}'
    assert load_tool('extract_features').main([*base, out, *options]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found['images'], found['width']) == (30, CHANNELS)


def test_a_wrong_camera_is_said_before_the_gallery_is_embedded(
    load_tool, trained, crops, capsys, monkeypatch
):
    def embed(*args, **kwargs):
        raise AssertionError('embedded')

    monkeypatch.setattr(ReIDInferencer, 'extract', embed)
    query = str(crops / 'hall' / '00_0.png')
    for option in ('--only-camera', '--exclude-camera'):
        arguments = [trained[1], str(crops), query, option, 'roof', '--device=cpu']
        assert load_tool('search').main(arguments) == 2
        error = capsys.readouterr().err
        assert "no camera 'roof'. Its cameras: entrance, hall" in error


def test_configs_by_name(load_tool, trained, crops, tmp_path, capsys):
    """As mmreid train takes them; the weights are of a smaller model."""
    options = [str(crops), f'--out={tmp_path / "a.npz"}', '--device=cpu']
    tool = load_tool('extract_features').main
    assert tool(['gcl_folder', *options, f'--checkpoint={trained[1]}']) == 2
    assert 'belongs to another model' in capsys.readouterr().err
    assert tool(['gcl_foldr', *options]) == 2
    assert 'near it are gcl_folder' in capsys.readouterr().err


@pytest.fixture
def labels(crops, tmp_path):
    """Who is who, in a file as cluster.py writes it."""
    path = tmp_path / 'labels.csv'
    names = sorted(str(file.relative_to(crops)) for file in crops.rglob('*.png'))
    lines = [f'{name},{int(name.split("/")[1][:2])},x' for name in names]
    path.write_text('\n'.join(['path,label,camera', *lines]))
    return path


def test_calibrate_and_search(load_tool, trained, crops, labels, tmp_path, capsys):
    _, weights = trained
    index, out, figure = (tmp_path / name for name in ('index', 'a.json', 'a.png'))
    query = str(crops / 'hall' / '02_1.png')
    search = [weights, str(index), query, '--device=cpu', '--topk=30']
    begin = [*search, f'--save-index={index}']
    begin[1] = str(crops)
    assert load_tool('search').main(begin) == 0
    assert '%' not in capsys.readouterr().out
    options = [f'--labels={labels}', '--rate=0.1', '--device=cpu']
    code = load_tool('calibrate').main(
        [weights, str(index), *options, f'--out={out}', f'--figure={figure}']
    )
    assert code == 0
    printed = capsys.readouterr().out
    result = json.loads(out.read_text())
    assert f'threshold {result["threshold"]:.3f}' in printed
    assert 'clusters of this model' in printed and 'across' in printed
    gallery = GalleryIndex.load(index)
    assert gallery.calibration.to_dict() == result
    assert (result['images'], gallery.calibration_warning) == (len(gallery), '')
    assert result['people'] == len({file.name[:2] for file in crops.rglob('*.png')})
    assert cv2.imread(str(figure)).std() > 10

    found_at = tmp_path / 'found.json'
    assert load_tool('search').main([*search, f'--out={found_at}']) == 0
    (found,) = json.loads(found_at.read_text())
    every = gallery.search(ReIDInferencer(weights, device='cpu')(query), 30)[0]
    above = [m.path for m in every if m.score >= result['threshold']]
    assert 0 < len(above) < 30
    assert [match['path'] for match in found['matches']] == above
    assert 0 <= found['matches'][0]['probability'] <= 1
    printed = capsys.readouterr()
    assert '%' not in printed.out and 'Calibrate again' not in printed.err
    table = tmp_path / 'found.csv'
    nobody = [*search, '--threshold=1.5', f'--out={table}']
    assert load_tool('search').main(nobody) == 0
    assert 'not in the gallery: the best has 1.000' in capsys.readouterr().out
    assert [(row['rank'], row['path']) for row in rows(table)] == [
        ('0', 'not in the gallery')
    ]
    assert load_tool('search').main([*search, '--threshold=-1']) == 0
    assert capsys.readouterr().out.count('.png') == 31


def test_calibrate_by_identities_and_tracks(load_tool, trained, tmp_path, capsys):
    _, weights = trained
    for n in range(24):
        part = 'query' if n < 8 else 'gallery'
        write(
            tmp_path / 'labelled' / part / f'c{n % 3}' / f'p{n % 8}' / f'{n}.png',
            draw(n % 8, n),
        )
    tool = load_tool('calibrate')
    options = ['--device=cpu', '--rate=0.2']
    out = f'--out={tmp_path / "a.json"}'
    command = [weights, str(tmp_path / 'labelled'), out, '--split=test', *options]
    assert tool.main(command) == 0
    assert 'Only 8 people' in capsys.readouterr().out
    result = json.loads((tmp_path / 'a.json').read_text())
    assert (result['people'], result['cameras']) == (8, 'across')

    inferencer = ReIDInferencer(weights, device='cpu', progress=False)
    gallery = inferencer.build_gallery(tmp_path / 'labelled', split='test')
    index = str(tmp_path / 'index')
    gallery.save(index)
    assert tool.main([weights, index, *options]) == 2
    assert 'nobody is known' in capsys.readouterr().err
    gallery.tracks = np.array(
        [2**62 + int(path.split('/')[2][1:]) % 4 for path in gallery.paths]
    )
    gallery.save(index)
    assert tool.main([weights, index, *options]) == 0
    assert 'nothing is known across cameras' in capsys.readouterr().out
    gallery = GalleryIndex.load(index)
    known = gallery.calibration
    assert (known.people, known.cameras) == (12, 'within')
    assert (known.images, gallery.calibration_warning) == (24, '')
    assert tool.main([weights, index, *options, '--among=all']) == 2
    assert 'say nothing across cameras' in capsys.readouterr().err


def test_calibrate_needs_a_place_for_the_result(load_tool, crops, capsys):
    for options, message in (
        ([], 'say where to keep'),
        (['--out=a.txt'], 'ends in .json'),
        (['--out=a.json', '--figure=a.xyz'], 'ends in .png'),
    ):
        with pytest.raises(SystemExit):
            load_tool('calibrate').parse_args(['model.pth', str(crops), *options])
        assert message in capsys.readouterr().err


def test_calibrate_shows_its_defaults_and_misses_its_gallery(
    load_tool, tmp_path, capsys
):
    tool = load_tool('calibrate')
    with pytest.raises(SystemExit):
        tool.parse_args(['--help'])
    assert 'wanted false-match rate (0.01)' in capsys.readouterr().out
    gone = str(tmp_path / 'gone')
    for options in ([], ['--out=a.json'], [f'--index={tmp_path}']):
        assert tool.main(['model.pth', gone, *options]) == 2
        error = capsys.readouterr().err
        assert f'calibrate: {gone}: there is no such gallery or folder.' in error


def test_search_by_track(load_tool, trained, crops, tmp_path, capsys):
    inferencer = ReIDInferencer(trained[1], device='cpu', progress=False)
    gallery = inferencer.build_gallery(crops)
    gallery.tracks = np.zeros(len(gallery), np.int64)
    gallery.save(tmp_path / 'index')
    query = str(crops / 'hall' / '02_1.png')
    command = [trained[1], str(tmp_path / 'index'), query, '--by-track', '--device=cpu']
    assert load_tool('search').main(command) == 0
    assert capsys.readouterr().out.count('.png') == 1 + 2  # a track a camera
