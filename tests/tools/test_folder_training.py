# SPDX-License-Identifier: Apache-2.0
"""configs/gcl_folder.py on unlabelled crops, and the test of what it gives."""

import json
import sys
from unittest import mock

import numpy as np
import pytest
from mmengine.logging import MessageHub, MMLogger
from mmengine.runner import Runner

from mmreid_gcl.apis import ReIDInferencer, load_config
from mmreid_gcl.datasets import PersonFolder
from mmreid_gcl.engine import PseudoLabelHook
from mmreid_gcl.evaluation import evaluate_ranking
from tests.apis.tiny import CHANNELS, draw, write

from .small import write_small_config


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """Unlabelled crops, and some labelled ones beside them."""
    root = tmp_path_factory.mktemp('crops')
    for person in range(8):
        for shot in range(8):
            camera = ('door', 'hall')[shot % 2]
            image = draw(person, shot)
            write(root / 'train' / camera / f'{shot:02d}_{person:02d}.png', image)
        identity = f'p{person}'
        write(root / 'query' / 'door' / identity / '0.png', draw(person, 100))
        write(root / 'gallery' / 'hall' / identity / '0.png', draw(person, 101))
        write(root / 'gallery' / 'hall' / identity / '1.png', draw(person, 102))
    return root


@pytest.fixture(scope='module')
def config(tmp_path_factory):
    return write_small_config(tmp_path_factory.mktemp('config') / 'small.py')


@pytest.fixture(scope='module')
def run(folder, config, tmp_path_factory):
    """Work dir of a training that was given nothing but data_root."""
    work_dir = tmp_path_factory.mktemp('run')
    cfg = load_config(str(config), dict(data_root=str(folder)), str(work_dir))
    assert cfg.val_dataloader is None
    lines = []
    runner = Runner.from_cfg(cfg)
    handler = MMLogger.get_current_instance().handlers[0]
    handler.addFilter(lambda record: lines.append(record.getMessage()) or True)
    runner.train()
    scalars = MessageHub.get_current_instance().log_scalars
    assert not any('reid' in name for name in scalars)
    assert not any('against identities' in line for line in lines)
    assert sum('natural order of their names' in line for line in lines) == 1
    second = [line for line in lines if 'Epoch 2 pseudo-labels' in line]
    assert len(second) == 1 and 'ARI with the last' in second[0]
    return work_dir


@pytest.mark.parametrize('by_name', [None, False, True])
@pytest.mark.parametrize(
    'graphs, used',
    [
        (dict(type='OrderedGraphs', order='camera_time'), True),
        (dict(type='OrderedGraphs', order='random'), False),
        (dict(type='NeighbourGraphs', mutual=True), False),
        (None, False),
    ],
)
def test_warns_of_times_where_they_are_used(folder, graphs, used, by_name):
    hook = PseudoLabelHook(dict(type='DBSCANClusterer'), graphs=graphs)
    dataset = PersonFolder(str(folder), order_by_name=by_name)
    runner = mock.Mock()
    hook._check_times(runner, dataset)
    assert runner.logger.warning.call_count == (used and by_name is None)


def test_label_free_signals_are_logged(run):
    (path,) = run.rglob('scalars.json')
    records = [json.loads(line) for line in path.read_text().splitlines()]
    for name in ('clusters', 'outliers', 'stability', 'silhouette'):
        key = f'pseudo_labels/{name}'
        values = [record[key] for record in records if key in record]
        assert len(values) == (1 if name == 'stability' else 2), name


def test_evaluate_and_keep(load_tool, run, folder, config, tmp_path, monkeypatch):
    out = tmp_path / 'test.npz'
    monkeypatch.setattr(
        sys,
        'argv',
        ['test.py', str(config), str(run / 'epoch_2.pth'), f'--out={out}']
        + [f'--work-dir={tmp_path}', '--cfg-options', f'data_root={folder}'],
    )
    load_tool('test').main()
    with np.load(out) as file:
        data = dict(file)
    query = data['is_query']
    assert data['features'].shape == (24, CHANNELS) and query.sum() == 8
    assert data['pids'].tolist() == [*range(8), *np.repeat(range(8), 2)]
    assert data['camids'].tolist() == [0] * 8 + [1] * 16
    assert data['cameras'].tolist() == ['door'] * 8 + ['hall'] * 16
    assert data['identities'].tolist() == [f'p{pid}' for pid in data['pids']]
    metrics = json.loads(str(data['metrics']))
    part = [data[name] for name in ('features', 'pids', 'camids')]
    expected = evaluate_ranking(*(x[query] for x in part), *(x[~query] for x in part))
    for name, value in expected.items():
        assert metrics[f'reid/{name}'] == pytest.approx(value)
    # the checkpoint carries its config: the inferencer needs nothing else
    inferencer = ReIDInferencer(run / 'epoch_2.pth', device='cpu', progress=False)
    features = inferencer(data['paths'].tolist())
    assert np.allclose(features, data['features'], atol=1e-5)
