# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import pytest
from mmengine.config import Config

from mmreid_gcl.apis.config_keys import check_options

FOLDER = Path(__file__).parents[2] / 'configs' / 'gcl_folder.py'


def test_typing_errors_in_options():
    cfg = Config.fromfile(FOLDER)
    good = [
        *('data_root', 'train_dataloader.batch_size', 'custom_hooks.1.graphs.size'),
        *('work_dir', 'randomness.seed', 'val_evaluator', 'cfg_of_nobody'),
    ]
    check_options(cfg, good[:-1])
    with pytest.raises(ValueError, match="no setting 'cfg_of_nobody'"):
        check_options(cfg, good)
    with pytest.raises(ValueError, match=r'Did you mean train_dataloader\?'):
        check_options(cfg, ['train_datloader.batch_size'])
