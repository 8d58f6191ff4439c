# SPDX-License-Identifier: Apache-2.0
"""Slurm's variables become torch's, and its script trains on nodes without GPUs."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from mmreid_gcl.apis import load_config

from .config.test_load import no_gpu, write  # noqa: F401  (fixtures)
from .engine import tiny_training

ROOT = Path(__file__).resolve().parents[1]
SLURM = dict(
    SLURM_NTASKS='4', SLURM_PROCID='3', SLURM_LOCALID='1', SLURM_NODELIST='node[1-2]'
)
NAMES = ('WORLD_SIZE', 'RANK', 'LOCAL_RANK', 'MASTER_ADDR', 'MASTER_PORT')


def stand_in(folder, name, text):
    path = folder / name
    path.write_text(f'#!/usr/bin/env bash\n{text}')
    path.chmod(0o755)


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    for name in NAMES:
        monkeypatch.setenv(name, 'before')  # comes back after the test
        monkeypatch.delenv(name)
    for name, value in SLURM.items():
        monkeypatch.setenv(name, value)
    stand_in(tmp_path, 'scontrol', 'echo node1\necho node2\n')
    monkeypatch.setenv('PATH', f'{tmp_path}{os.pathsep}{os.environ["PATH"]}')


def test_slurm_variables(write, no_gpu, slurm):  # noqa: F811
    cfg = load_config(write(), launcher='slurm')
    assert [os.environ[name] for name in NAMES] == ['4', '3', '1', 'node1', '29500']
    assert no_gpu[0][0] == 'gloo' and cfg.train_dataloader.batch_size == 32
    assert cfg.launcher == 'slurm' and cfg.model_wrapper_cfg.device_ids is None


def test_address_and_port_that_are_given(write, no_gpu, slurm, monkeypatch):  # noqa: F811
    monkeypatch.setenv('MASTER_ADDR', '10.0.0.7')
    monkeypatch.setenv('MASTER_PORT', '29511')
    load_config(write(), launcher='slurm')
    assert os.environ['MASTER_ADDR'] == '10.0.0.7'
    assert os.environ['MASTER_PORT'] == '29511'


def test_outside_of_a_job(write, no_gpu, slurm, monkeypatch):  # noqa: F811
    monkeypatch.delenv('SLURM_PROCID')
    with pytest.raises(ValueError, match=r'--launcher slurm needs .*SLURM_PROCID'):
        load_config(write(), launcher='slurm')


def test_mpi(write, no_gpu, slurm, monkeypatch):  # noqa: F811
    for name, value in (('SIZE', '2'), ('RANK', '1'), ('LOCAL_RANK', '1')):
        monkeypatch.setenv(f'OMPI_COMM_WORLD_{name}', value)
    with pytest.raises(ValueError, match=r'--launcher mpi needs .*MASTER_ADDR'):
        load_config(write(), launcher='mpi')
    monkeypatch.setenv('MASTER_ADDR', '10.0.0.7')
    load_config(write(), launcher='mpi')
    assert [os.environ[name] for name in NAMES[:3]] == ['2', '1', '1']


SRUN = """
echo "$@" > {folder}/arguments
until [[ $1 == python ]]; do shift; done
shift
for rank in 0 1; do
    SLURM_PROCID=$rank SLURM_LOCALID=$rank SLURM_NTASKS=2 SLURM_NODELIST=localhost \\
        {python} "$@" &
done
wait
"""


@pytest.mark.slow
def test_the_script(tmp_path):
    """With stand-ins for srun and scontrol: two processes end as one."""
    images = tiny_training.draw_images(tmp_path / 'data')
    more = {'model.backbone.norm_cfg': dict(type='GN', num_groups=2)}
    config = tiny_training.make_config(images, tmp_path / 'unused', **more).to_dict()
    config['train_dataloader']['batch_size'] = 'auto'
    path = tmp_path / 'config.py'
    path.write_text(''.join(f'{key} = {value!r}\n' for key, value in config.items()))
    stand_in(tmp_path, 'srun', SRUN.format(folder=tmp_path, python=sys.executable))
    stand_in(tmp_path, 'scontrol', 'echo localhost\n')
    env = dict(os.environ, GPUS='2', GRES='', OMP_NUM_THREADS='1', MASTER_PORT='29631')
    env['PATH'] = f'{tmp_path}{os.pathsep}{env["PATH"]}'
    command = ['bash', str(ROOT / 'tools' / 'slurm_train.sh'), 'cpu', 'job', str(path)]
    done = subprocess.run(
        [*command, str(tmp_path / 'two')], env=env, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    arguments = (tmp_path / 'arguments').read_text()
    assert '--gres' not in arguments and '--ntasks=2' in arguments
    alone = tiny_training.make_config(images, tmp_path / 'one', **more)
    tiny_training.train(alone)
    one, two = (tiny_training.outcome(tmp_path / name) for name in ('one', 'two'))
    assert np.array_equal(one['pseudo_labels'], two['pseudo_labels'])
    for name, value in one['state_dict'].items():
        torch.testing.assert_close(value, two['state_dict'][name], rtol=0, atol=1e-2)
