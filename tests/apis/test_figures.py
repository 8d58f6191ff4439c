# SPDX-License-Identifier: Apache-2.0
"""Figures of a model, and the command lines of tools/analysis around them."""

import copy
import importlib
import json
import shutil
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import Compose

from mmreid_gcl.apis.figures import (
    ModelSource,
    attention_figure,
    cluster_figure,
    embedding_figure,
    ranking_figure,
)
from mmreid_gcl.apis.figures.embedding import choose_images
from mmreid_gcl.apis.figures.report import run_report
from mmreid_gcl.apis.figures.source import images_of
from mmreid_gcl.evaluation import evaluate_ranking
from mmreid_gcl.registry import MODELS

TOOLS = Path(__file__).parents[2] / 'tools' / 'analysis'
PIPELINE = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(16, 32)),
    dict(type='PackInputs', meta_keys=('sample_idx', 'img_path', 'pid', 'camid')),
]


def settings(data_root):
    def dataset(split):
        return dict(
            type='Market1501', data_root=data_root, split=split, pipeline=PIPELINE
        )

    return dict(
        default_scope='mmreid_gcl',
        custom_imports=dict(imports=['mmreid_gcl']),
        data_root=data_root,
        model=dict(
            type='UnsupervisedReID',
            backbone=dict(
                type='ResNet',
                depth=18,
                stem_channels=4,
                base_channels=4,
                out_indices=(3,),
            ),
            neck=dict(type='EmbeddingNeck', in_channels=32),
            head=dict(type='SelectiveMemoryHead', in_channels=32),
            relation_neck=dict(type='GCLNeck', in_channels=32),
            relation_head=dict(type='SelectiveMemoryHead', in_channels=64),
        ),
        train_dataloader=dict(dataset=dataset('train')),
        val_dataloader=None,
        test_dataloader=dict(dataset=dataset('test')),
        train_cfg=dict(max_epochs=3),
        randomness=dict(seed=5),
        default_hooks=dict(
            pseudo_labels=dict(
                type='PseudoLabelHook',
                clusterer=dict(type='DBSCANClusterer', min_samples=2, k1=6, k2=2),
                graphs=dict(type='OrderedGraphs', order='filename', size=6),
                extract=dict(pipeline=PIPELINE),
            )
        ),
    )


def write_people(folder, people, shots, cameras=(1, 2), value=0):
    folder.mkdir(parents=True, exist_ok=True)
    for person in people:
        color = np.random.default_rng(person).integers(0, 256, 3)
        for camera in cameras:
            for shot in range(shots):
                image = np.full((32, 16, 3), color, np.int64)
                image += np.random.default_rng([person, camera, shot]).integers(
                    -30, 31, image.shape
                )
                name = f'{person:04d}_c{camera}s1_{100 * person + shot:06d}_01.jpg'
                image = np.clip(image, 0, 255).astype(np.uint8)
                cv2.imwrite(str(folder / name), image)


@pytest.fixture(scope='module')
def case(tmp_path_factory):
    """Data, and the work dir of a run on them."""
    root = tmp_path_factory.mktemp('case')
    data = root / 'data'
    write_people(data / 'bounding_box_train', range(1, 6), shots=3)
    write_people(data / 'query', range(11, 15), shots=1)
    write_people(data / 'bounding_box_test', range(11, 15), shots=2)
    write_people(data / 'bounding_box_test', [0], shots=2)
    work_dir = root / 'work'
    folder = work_dir / '20260101_000000' / 'vis_data'
    folder.mkdir(parents=True)
    cfg = Config(settings(str(data)))
    (work_dir / 'tiny.py').write_text(cfg.pretty_text)
    torch.manual_seed(0)
    model = MODELS.build(copy.deepcopy(cfg.model))
    labels = torch.arange(30) // 6  # the training set is in a neutral order
    labels[:3] = -1
    checkpoint = work_dir / 'epoch_2.pth'
    torch.save(dict(state_dict=model.state_dict(), pseudo_labels=labels), checkpoint)
    # as if the run had been moved since
    (work_dir / 'last_checkpoint').write_text('/elsewhere/epoch_2.pth')
    lines = [
        {'pseudo_labels/clusters': 5, 'pseudo_labels/ari': 0.25, 'step': 1},
        dict(loss=3.0, epoch=1, iter=10, step=10),
        {'pseudo_labels/clusters': 4, 'pseudo_labels/ari': 0.5, 'step': 2},
        {'reid/mAP': 44.25, 'reid/R1': 61.5, 'step': 2},
    ]
    text = ''.join(json.dumps(line) + '\n' for line in lines)
    (folder / 'scalars.json').write_text(text)
    test = work_dir / '20260102_000000'
    test.mkdir()
    (test / '20260102_000000.json').write_text(json.dumps({'reid/mAP': 45.75}))
    return data, work_dir


@pytest.fixture(scope='module')
def source(case):
    return make_source(case)


def make_source(case, change=None, checkpoint='epoch_2.pth'):
    cfg = Config(settings(str(case[0])))
    if change:
        cfg.merge_from_dict(change)
    path = checkpoint and case[1] / checkpoint
    return ModelSource(cfg, path, 'cpu', batch_size=8, num_workers=0)


@pytest.fixture
def tool(monkeypatch):
    """``main`` of a script of tools/analysis."""
    monkeypatch.syspath_prepend(str(TOOLS))

    def load(name):
        for module in (name, '_model'):
            sys.modules.pop(module, None)
        return importlib.import_module(name).main

    yield load
    for module in [m for m in sys.modules if m in {p.stem for p in TOOLS.glob('*.py')}]:
        sys.modules.pop(module)


def words(figure):
    return [t.get_text() for a in figure.axes for t in a.texts if t.get_text()]


def test_images_are_read_red_first(source):
    images = images_of(source.test_set)
    path = source.test_set.column('img_path')[3]
    assert len(images) == len(source.test_set) == 8 + 16 + 4
    np.testing.assert_array_equal(images[3], cv2.imread(path)[..., ::-1])


def test_embeddings_of_some_are_those_of_all(source):
    some = source.embed(source.test_set, np.array([5, 2]))
    np.testing.assert_allclose(some, source.test_features[[5, 2]], atol=1e-5)
    # and those that the model gives for the images of the pipeline
    data = Compose(PIPELINE)(source.test_set.get_data_info(2))
    x = (data['inputs'][None].float() - 0) / 1
    with torch.inference_mode():
        batch = dict(inputs=[x[0].to(torch.uint8)], data_samples=[data['data_samples']])
        inputs = source.model.data_preprocessor(batch, False)['inputs']
        expected = source.model(inputs)[0]
    np.testing.assert_allclose(source.test_features[2], expected, atol=1e-5)


def test_ranking_shows_what_the_evaluation_counts(source):
    figure = ranking_figure(source, num_queries=50, topk=3)
    written = words(figure)
    aps = [int(w.split('AP ')[1][:-2]) for w in written if 'AP ' in w]
    assert len(aps) == 8  # no more than there are
    data, x = source.test_set, source.test_features
    query = data.column('is_query')
    pids, cams = data.column('pid'), data.column('camid')
    expected = evaluate_ranking(
        x[query], pids[query], cams[query], x[~query], pids[~query], cams[~query]
    )
    assert np.mean(aps) == pytest.approx(expected['mAP'], abs=0.6)
    assert any('random queries (seed 0)' in w for w in written)
    assert len(figure.axes[0].images) == 8 * 4


def test_ranking_of_the_worst_and_the_best(source):
    def aps(pick):
        found = words(ranking_figure(source, num_queries=8, topk=1, pick=pick))
        assert any(f'{pick} queries' in w for w in found)
        return [int(w.split('AP ')[1][:-2]) for w in found if 'AP ' in w]

    assert aps('worst') == sorted(aps('worst'))
    assert aps('best') == aps('worst')[::-1]
    with pytest.raises(ValueError, match="'median'"):
        ranking_figure(source, pick='median')


def test_attention_is_that_of_the_neck_on_the_graph(source):
    figure = attention_figure(source, image=7)
    heat = figure.axes[1].images[0].get_array()
    data = source.train_set
    paths = data.column('img_path')
    order = sorted(range(len(data)), key=lambda i: Path(paths[i]).name)
    begin = order.index(7) // 6 * 6
    nodes = np.array(order[begin : begin + 6])
    pids, cams = data.column('pid')[nodes], data.column('camid')[nodes]
    nodes = nodes[np.lexsort((nodes, cams, pids))]
    with torch.inference_mode():
        expected = source.model.relation_neck.attention(source.train_features[nodes])
    np.testing.assert_allclose(heat, expected, atol=1e-5)
    assert '(filename)' in words(figure)[:2]
    with pytest.raises(ValueError, match=r'within 0 and 29.*30'):
        attention_figure(source, image=30)


def test_attention_of_neighbour_graphs(case):
    source = make_source(case)
    graphs = dict(type='NeighbourGraphs', size=5, mutual=True)
    source.cfg.default_hooks.pseudo_labels.graphs = graphs
    heat = attention_figure(source, image=0).axes[1].images[0].get_array()
    assert heat.shape[0] == heat.shape[1] <= 5
    np.testing.assert_allclose(heat.sum(axis=1), 1, atol=1e-5)


def test_without_gcl_there_is_no_attention(case):
    cfg = Config(settings(str(case[0])))
    cfg.model.relation_neck = cfg.model.relation_head = None
    with pytest.raises(ValueError, match='relation_neck'):
        attention_figure(ModelSource(cfg, None, 'cpu', num_workers=0))


def test_clusters_are_those_of_the_checkpoint_or_new(source):
    figure = cluster_figure(source)
    written = words(figure)
    assert 'labels of the last epoch' in written[0]
    assert written[1].startswith('5 of 5 clusters') and '3 of 30' in written[1]
    written = words(cluster_figure(source, recluster=True))
    assert 'clustered with its weights' in written[0]


def test_labels_of_other_data_are_refused(case, tmp_path):
    write_people(tmp_path / 'bounding_box_train', range(1, 4), shots=2)
    source = make_source(case, {'train_dataloader.dataset.data_root': str(tmp_path)})
    with pytest.raises(ValueError, match=r'labels of 30 images.*has 12.*--recluster'):
        cluster_figure(source)


def test_embedding_of_two_models(case, source):
    untrained = make_source(case, checkpoint=None)
    figure = embedding_figure(source, untrained, num_ids=3, max_images=4, method='pca')
    assert [a.get_title() for a in figure.axes] == [source.name, untrained.name]
    points = sum(len(c.get_offsets()) for c in figure.axes[0].collections)
    assert points == 12
    assert '12 images of 3 people' in figure.texts[-1].get_text()


def test_people_of_several_cameras_are_chosen():
    pids = np.array([0, 0, -1, 5, 5, 6, 6, 6, 7])
    cams = np.array([1, 2, 1, 1, 2, 3, 3, 3, 1])
    assert choose_images(pids, cams, 9, 9, 0).tolist() == [3, 4]
    assert choose_images(pids, np.ones(9), 9, 9, 0).tolist() == [3, 4, 5, 6, 7, 8]
    chosen = choose_images(pids, np.ones(9), 2, 1, 0)
    assert len(chosen) == 2 == len(set(pids[chosen]))
    with pytest.raises(ValueError, match='known identity'):
        choose_images(np.array([0, -1]), np.ones(2), 9, 9, 0)


@pytest.mark.parametrize(
    'name, options',
    [
        ('visualize_ranking', ['--num-queries', '2', '--topk', '3']),
        ('visualize_attention', ['--vmax', '0.5']),
        ('visualize_embedding', ['--method', 'pca']),
        ('cluster_sheet', ['--num-clusters', '2']),
    ],
)
def test_command_lines_write_a_picture(case, tool, tmp_path, name, options):
    out = tmp_path / 'new' / 'x.png'
    checkpoint = case[1] / 'epoch_2.pth'
    fixed = ['--out', str(out), '--device', 'cpu', '--num-workers', '0', '--dpi', '40']
    code = tool(name)([str(case[1] / 'tiny.py'), str(checkpoint), *fixed, *options])
    assert code == 0
    assert cv2.imread(str(out)).std() > 1


def test_command_lines_say_what_is_missing(case, tool, tmp_path, capsys):
    main = tool('visualize_ranking')
    config = str(case[1] / 'tiny.py')
    fixed = ['--device', 'cpu', '--num-workers', '0', '--out', str(tmp_path / 'x.png')]
    assert main([config, 'none.pth', *fixed]) == 2
    assert 'none.pth' in capsys.readouterr().err
    missing = ['--cfg-options', f'data_root={tmp_path / "nowhere"}']
    assert main([config, 'untrained', *fixed, *missing]) == 2
    assert 'nowhere' in capsys.readouterr().err
    assert main(['none.py', 'untrained', *fixed]) == 2
    assert 'none.py' in capsys.readouterr().err


def test_plot_curves(case, tool, tmp_path, capsys):
    main = tool('plot_curves')
    out = tmp_path / 'c.png'
    work = str(case[1])
    assert main([work, '--out', str(out), '--dpi', '40']) == 0
    assert cv2.imread(str(out)).std() > 1
    assert main([work, work, '--out', str(out)]) == 2
    assert 'twice' in capsys.readouterr().err
    assert (
        main([work, work, '--names', 'a', 'b', '--out', str(out), '--dpi', '40']) == 0
    )
    assert main([work, '--names', 'a', 'b', '--out', str(out)]) == 2
    assert main([str(tmp_path)]) == 2
    assert 'scalars.json' in capsys.readouterr().err


def test_plot_curves_beside_what_is_expected(case, tool, tmp_path, capsys):
    from mmreid_gcl.visualization import read_expected

    main, out, work = tool('plot_curves'), tmp_path / 'c.png', str(case[1])
    (record,) = (TOOLS.parents[1] / 'docs/data/expected').glob('*.json')
    name, series = read_expected(record)
    assert series['reid/mAP'][1].max() == 87.0 and name == 'public log'
    expect = ['--expect', str(record), '--out', str(out), '--dpi', '40']
    assert main([work, *expect]) == 0
    assert cv2.imread(str(out)).std() > 1
    assert main([work, '--names', name, *expect]) == 2
    assert 'a run has the name' in capsys.readouterr().err
    wrong = tmp_path / 'wrong.json'
    for text in ('{', '[]', '{"name": "a", "series": {"reid/mAP": [[1], [2, 3]]}}'):
        wrong.write_text(text)
        assert main([work, '--expect', str(wrong), '--out', str(out)]) == 2
        assert 'wrong.json: expected a JSON file' in capsys.readouterr().err


def test_names_of_runs_are_as_long_as_they_must_be(tool):
    tool('plot_curves')
    names_of = sys.modules['plot_curves'].names_of
    assert names_of([Path('/x/a'), Path('/x/b')]) == ['a', 'b']
    assert names_of([Path('/x/s1/a'), Path('/x/s2/a')]) == ['s1/a', 's2/a']
    # a seed of tools/experiments.py, with the experiment's name
    assert names_of([Path('/x/model1-f5/seed3')]) == ['model1-f5/seed3']


def test_report_holds_everything(case, tool, tmp_path):
    out = tmp_path / 'r.html'
    arguments = [str(case[1]), '--out', str(out), '--device', 'cpu']
    assert tool('report')([*arguments, '--num-workers', '0']) == 0
    page = out.read_text()
    assert page.count('src="data:image/png') == 5  # curves and four sheets
    for expected in (
        '44.25',
        '61.50',
        '45.75',
        '0.250',
        'leaks labels',
        'max_epochs=3',
    ):
        assert expected in page, expected
    assert '2 begun of 3' in page and 'http' not in page.replace('http-equiv', '')


def test_report_counts_the_epochs_that_were_trained(case, tmp_path):
    """LabelFreeBestHook clusters once more after the last one."""
    folder = tmp_path / 'run' / '20260101_000000' / 'vis_data'
    folder.mkdir(parents=True)
    names = ('clusters', 'cross_camera_clusters', 'cross_camera_images', 'silhouette')
    lines = [
        {**{f'pseudo_labels/{n}': 0.25 * i for i, n in enumerate(names)}, 'step': step}
        | {'pseudo_labels/label_free_score': 0.125, 'pseudo_labels/clusters': 7}
        for step in (1, 2, 3, 4)
    ]
    text = ''.join(json.dumps(line) + '\n' for line in lines)
    (folder / 'scalars.json').write_text(text)
    page, _ = run_report(tmp_path / 'run', Config(settings(str(case[0]))), without='x')
    assert '3 begun of 3' in page
    assert 'Line 4 is of the weights after the last epoch.' in page
    for expected in (
        'cross-camera images',
        'label-free score',
        '0.500',
        '0.750',
        '0.125',
    ):
        assert expected in page, expected
    del lines[3]
    text = ''.join(json.dumps(line) + '\n' for line in lines[:2])
    (folder / 'scalars.json').write_text(text)
    page, _ = run_report(tmp_path / 'run', Config(settings(str(case[0]))), without='x')
    assert '2 begun of 3' in page and 'after the last epoch' not in page


@pytest.mark.parametrize(
    'figure', [ranking_figure, attention_figure, cluster_figure, embedding_figure]
)
def test_figures_name_cameras_as_the_folder_does(case, tmp_path, figure):
    names = {1: 'cam2', 2: 'entrance'}
    folders = dict(
        bounding_box_train='train', query='query', bounding_box_test='gallery'
    )
    for source_name, part in folders.items():
        for path in sorted((case[0] / source_name).iterdir()):
            pid, camera = path.name[:4], names[int(path.name[6])]
            target = tmp_path / part / camera / pid / path.name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, target)
    cfg = Config(settings(str(tmp_path)))
    for loader in (cfg.train_dataloader, cfg.test_dataloader):
        loader.dataset.type = 'PersonFolder'
    source = ModelSource(cfg, None, 'cpu', batch_size=8, num_workers=0)
    options = dict(method='pca') if figure is embedding_figure else {}
    options |= dict(recluster=True) if figure is cluster_figure else {}
    made = figure(source, **options)
    written = words(made) + [
        t.get_text() for a in made.axes for b in a.artists for t in b.get_texts()
    ]
    seen = [name for name in ('cam2', 'entrance') if any(name in t for t in written)]
    assert len(seen) == (1 if figure is attention_figure else 2)  # a graph of one
    assert not any('cam cam' in text or 'cam 0' in text for text in written)


def test_report_without_data_or_checkpoint_says_so(case, tool, tmp_path, capsys):
    main = tool('report')
    out = tmp_path / 'r.html'
    arguments = [str(case[1]), '--out', str(out), '--device', 'cpu']
    assert main([*arguments, '--checkpoint', 'none']) == 0
    assert out.read_text().count('src="data:image/png') == 1
    assert 'no checkpoint was asked for' in out.read_text()
    nowhere = str(tmp_path / 'nowhere')
    assert main([*arguments, '--cfg-options', f'data_root={nowhere}']) == 0
    page = out.read_text()
    assert page.count('This cannot be shown') == 4 and nowhere in page
    assert 'left out: Retrieval' in capsys.readouterr().err
    assert main([str(tmp_path)]) == 2
    assert '--config' in capsys.readouterr().err
