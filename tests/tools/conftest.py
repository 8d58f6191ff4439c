# SPDX-License-Identifier: Apache-2.0
import pytest

from tests.apis.tiny import save_checkpoint, tiny_cfg, write_crops
from tests.conftest import TOOLS  # noqa: F401
from tests.threads import one_thread  # noqa: F401


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
