# SPDX-License-Identifier: Apache-2.0
"""search, extract_features and cluster, from a command line to files."""

import csv
import json

import cv2
import numpy as np
import pytest

from mmreid_gcl.apis import GalleryIndex, ReIDInferencer
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


def test_search_with_a_folder_of_queries(load_tool, trained, crops, tmp_path, capsys):
    code = load_tool('search').main(
        [trained[1], str(crops), str(crops / 'hall'), '--topk=1', '--device=cpu']
        + [f'--out={tmp_path / "a.csv"}']
    )
    assert code == 0
    found = rows(tmp_path / 'a.csv')
    assert len(found) == 15
    assert all(row['path'] == row['query'] for row in found)


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
    assert (data['pids'] == -1).all()
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


def test_sheets_show_all_clusters_once(load_tool, tmp_path):
    """Twelve clusters a sheet, the largest first, none twice."""
    tool = load_tool('cluster')
    import mmreid_gcl.visualization as module

    shown = []
    sizes = np.arange(1, 31)
    labels = np.concatenate([np.repeat(np.arange(30), sizes), [-1] * 7])

    def remember(images, labels, camids, num_clusters, title):
        clusters = module.describe_clusters(labels)[:num_clusters]
        assert len(images) == len(labels) == len(camids)
        shown.append(([cluster.label for cluster in clusters], title))
        from matplotlib.figure import Figure

        return Figure()

    class Images:
        cameras = ['a'] * len(labels)

        def files(self):
            return ['x'] * len(labels)

    original, module.cluster_sheet = module.cluster_sheet, remember
    try:
        written = tool.write_sheets(tmp_path, labels, Images(), 10)
    finally:
        module.cluster_sheet = original
    assert [path.name for path in written] == [f'sheet_00{i}.png' for i in (1, 2, 3)]
    assert [label for part, _ in shown for label in part] == list(range(29, -1, -1))
    assert shown[2][1] == 'Clusters 25 to 30 of 30 by size'


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
    assert f'threshold {result["threshold"]:.4f}' in printed
    assert 'clusters of this model' in printed and 'across' in printed
    gallery = GalleryIndex.load(index)
    assert gallery.calibration.to_dict() == result
    assert result['people'] == len({file.name[:2] for file in crops.rglob('*.png')})
    assert cv2.imread(str(figure)).std() > 10

    found_at = tmp_path / 'found.json'
    assert load_tool('search').main([*search, f'--out={found_at}']) == 0
    (found,) = json.loads(found_at.read_text())
    every = gallery.search(ReIDInferencer(weights, device='cpu')(query), 30)[0]
    above = [m.path for m in every if m.score >= result['threshold']]
    assert 0 < len(above) < 30
    assert [match['path'] for match in found['matches']] == above
    assert f'{found["matches"][0]["probability"]:6.1%}' in capsys.readouterr().out
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
        [int(path.split('/')[2][1:]) % 4 for path in gallery.paths]
    )
    gallery.save(index)
    assert tool.main([weights, index, *options]) == 0
    assert 'nothing is known across cameras' in capsys.readouterr().out
    known = GalleryIndex.load(index).calibration
    assert (known.people, known.cameras) == (12, 'within')
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


def test_search_by_track(load_tool, trained, crops, tmp_path, capsys):
    inferencer = ReIDInferencer(trained[1], device='cpu', progress=False)
    gallery = inferencer.build_gallery(crops)
    gallery.tracks = np.zeros(len(gallery), np.int64)
    gallery.save(tmp_path / 'index')
    query = str(crops / 'hall' / '02_1.png')
    command = [trained[1], str(tmp_path / 'index'), query, '--by-track', '--device=cpu']
    assert load_tool('search').main(command) == 0
    assert capsys.readouterr().out.count('.png') == 1 + 2  # a track a camera
