# SPDX-License-Identifier: Apache-2.0
"""The package as somebody installs it: from the sdist, in an environment of its own."""

import os
import sys
import venv

import pytest

from tests.packaging.building import build_wheel, run, unpack

pytestmark = pytest.mark.slow
TINY = [
    '--cfg-options',
    'data_root=data',
    'model.backbone.init_cfg=None',
    'train_cfg.max_epochs=1',
    'train_cfg.val_interval=1',
    'train_dataloader.num_workers=0',
    'train_dataloader.persistent_workers=False',
    'train_dataloader.sampler.num_identities=4',
    'train_dataloader.sampler.num_batches=2',
]


@pytest.fixture(scope='module')
def mmreid(sdist, tmp_path_factory):
    """The command in a new environment, which sees the dependencies of this one."""
    folder = tmp_path_factory.mktemp('environment')
    venv.create(folder, with_pip=True, symlinks=True)
    python = str(folder / 'bin/python')
    code = 'import sysconfig; print(sysconfig.get_path("purelib"))'
    here = run([sys.executable, '-c', code], folder).stdout.strip()
    there = run([python, '-c', code], folder).stdout.strip()
    # dependencies only: with the links of an editable installation left out
    with open(os.path.join(there, 'others.pth'), 'w') as file:
        file.write(here + '\n')
    pip = [python, '-m', 'pip', 'install', '--quiet', '--no-deps', '--ignore-installed']
    wheel = build_wheel(unpack(sdist, folder / 'unpacked'), folder / 'wheel')
    run([*pip, '--no-index', str(wheel)], folder)
    return str(folder / 'bin/mmreid')


def test_train_and_test(mmreid, tmp_path):
    clean = {k: v for k, v in os.environ.items() if k != 'PYTHONPATH'}
    sizes = ['--num-train-ids', '20', '--num-test-ids', '6', '--num-cameras', '3']
    small = ['--height', '64', '--width', '32', '--workers', '1']

    def call(*arguments):
        return run([mmreid, *arguments], tmp_path, env=clean).stdout

    assert '/.mim' in call('--version')
    call('make_synthetic', 'data', *sizes, *small)
    call('train', 'gcl_synthetic', '--work-dir', 'work', *TINY)
    assert (tmp_path / 'work/epoch_1.pth').is_file()
    tested = call(
        *('test', 'gcl_synthetic', 'work/epoch_1.pth', '--work-dir', 'tested'),
        *('--cfg-options', 'data_root=data'),
    )
    assert 'reid/mAP' in tested
