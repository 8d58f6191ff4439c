# SPDX-License-Identifier: Apache-2.0
"""What is in a wheel, and that it runs outside the checkout."""

import os
import subprocess
import sys
from email.parser import BytesParser
from pathlib import Path

import pytest

from tests.packaging.building import ROOT, build_wheel, contents, run, unpack


def tracked(folder: str, *suffixes: str) -> set[str]:
    files = (path for path in (ROOT / folder).rglob('*') if path.suffix in suffixes)
    return {
        path.relative_to(ROOT).as_posix() for path in files if '.mim' not in path.parts
    }


@pytest.fixture(scope='module')
def installed(wheel, tmp_path_factory):
    """The wheel in a folder of its own."""
    target = tmp_path_factory.mktemp('installed')
    pip = [sys.executable, '-m', 'pip', 'install', '--quiet', '--no-deps', '--no-index']
    run([*pip, '--no-compile', '--target', str(target), str(wheel)], target)
    return target


def python(installed: Path, folder: Path, *arguments: str):
    environment = {**os.environ, 'PYTHONPATH': str(installed)}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        env=environment,
    )


def test_the_wheel_has_the_package_and_mim(wheel):
    names = {name for name in contents(wheel) if '.dist-info/' not in name}
    expected = tracked('mmreid_gcl', '.py')
    expected |= {
        f'mmreid_gcl/.mim/{name}'
        for name in tracked('configs', '.py', '.md', '.yml')
        | tracked('tools', '.py', '.sh')
        | {'model-index.yml'}
    }
    assert names == expected


def test_metadata(wheel):
    files = contents(wheel)
    info = next(name for name in files if name.endswith('METADATA')).partition('/')[0]
    metadata = BytesParser().parsebytes(files[f'{info}/METADATA'])
    assert metadata['Name'] == 'mmreid_gcl'
    assert metadata['License-Expression'] == 'Apache-2.0'
    assert metadata['Requires-Python'] == '>=3.10'
    required = metadata.get_all('Requires-Dist')
    assert any(r.startswith('torch>=') and 'extra' not in r for r in required)
    # an environment with the original OpenMMLab packages keeps them
    mm = [r for r in required if 'onedl' in r]
    assert len(mm) == 3 and all('extra == "mm"' in r for r in mm)
    assert files[f'{info}/licenses/LICENSE'] == (ROOT / 'LICENSE').read_bytes()
    assert b'mmreid = mmreid_gcl.cli.console:main' in files[f'{info}/entry_points.txt']


def test_a_wheel_from_the_sdist_is_the_same(wheel, sdist, tmp_path):
    folder = unpack(sdist, tmp_path / 'unpacked')
    again = contents(build_wheel(folder, tmp_path / 'wheel'))
    first = contents(wheel)
    assert again.keys() == first.keys()
    assert [name for name in first if first[name] != again[name]] == []


def test_the_sdist_has_what_a_reader_wants(sdist, tmp_path):
    folder = unpack(sdist, tmp_path)
    for name in ('LICENSE', 'README.md', 'docs/method.md', 'tests/conftest.py'):
        assert (folder / name).is_file(), name
    assert not list(folder.rglob('*.pyi')) and not (folder / 'mmreid_gcl/.mim').exists()


def test_it_runs_outside_the_checkout(installed, tmp_path):
    listed = python(installed, tmp_path, '-m', 'mmreid_gcl', 'list')
    assert listed.returncode == 0, listed.stderr
    assert str(installed / 'mmreid_gcl/.mim/tools') in listed.stdout
    assert 'gcl_market ' in listed.stdout and 'data/make_synthetic ' in listed.stdout
    helped = python(installed, tmp_path, '-m', 'mmreid_gcl', 'train', '--help')
    assert helped.returncode == 0, helped.stderr
    assert 'usage: mmreid train' in helped.stdout


def test_mmengine_finds_the_configs(installed, tmp_path):
    (tmp_path / 'mine.py').write_text("_base_ = 'mmreid_gcl::_base_/../gcl_duke.py'\n")
    code = """
import mmreid_gcl
from mmengine.config import Config
from mmengine.hub import get_config
from mmreid_gcl.apis import load_config

print(get_config('mmreid_gcl::ablation/duke_model1.py').filename)
print(Config.fromfile('mine.py').data_root)
print(load_config('gcl_market').work_dir)
"""
    done = python(installed, tmp_path, '-c', code)
    assert done.returncode == 0, done.stderr
    mim = installed / 'mmreid_gcl/.mim'
    assert done.stdout.split()[-3:] == [
        str(mim / 'configs/ablation/duke_model1.py'),
        'data/dukemtmc-reid',
        'work_dirs/gcl_market',
    ]
