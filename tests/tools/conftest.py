# SPDX-License-Identifier: Apache-2.0
import importlib.util
from pathlib import Path

import pytest
import torch

from tests.apis.tiny import save_checkpoint, tiny_cfg, write_crops

TOOLS = Path(__file__).parents[2] / 'tools'


@pytest.fixture(autouse=True)
def one_thread():
    """Threads that wait for each other on a busy machine cost seconds."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope='session')
def load_tool():
    """A tool as a module, without a process of its own."""

    def load(name):
        path = TOOLS / f'{name}.py'
        spec = importlib.util.spec_from_file_location(f'tool_{path.stem}', path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load


@pytest.fixture(scope='session')
def trained(tmp_path_factory):
    """(config file, checkpoint that carries its config)."""
    folder = tmp_path_factory.mktemp('trained')
    cfg = tiny_cfg(relation=True)
    cfg.custom_hooks = [
        dict(
            type='PseudoLabelHook',
            clusterer=dict(type='DBSCANClusterer', eps=0.6, min_samples=2, k1=5, k2=2),
            graphs=dict(type='OrderedGraphs', order='camera_time', size=4),
            extract=dict(pipeline=cfg.test_pipeline),
        )
    ]
    cfg.dump(folder / 'config.py')
    save_checkpoint(folder / 'model.pth', cfg=cfg)
    return str(folder / 'config.py'), str(folder / 'model.pth')


@pytest.fixture
def crops(tmp_path):
    return write_crops(tmp_path / 'crops', people=5, shots=3)
