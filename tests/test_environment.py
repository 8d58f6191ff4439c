# SPDX-License-Identifier: Apache-2.0
import importlib.metadata
import importlib.util
import io
import logging
import subprocess
import sys
import warnings

import pytest
from mmengine.logging import MMLogger

from mmreid_gcl import environment
from mmreid_gcl.environment import calm_screen, check_stack, ignore_useless_warnings

ORIGINAL = {'mmengine', 'mmcv', 'mmpretrain'}
LITE = {'mmengine', 'mmcv-lite', 'mmpretrain'}
MAINTAINED = {'onedl-mmengine', 'onedl-mmcv', 'onedl-mmpretrain'}


@pytest.fixture
def nothing_importable(monkeypatch):
    monkeypatch.setattr(importlib.util, 'find_spec', lambda name: None)


@pytest.mark.parametrize(
    'installed',
    [ORIGINAL, LITE, MAINTAINED, {'mmengine', 'onedl-mmcv', 'mmpretrain', 'numpy'}],
)
def test_one_of_each(nothing_importable, installed):
    check_stack(installed)
    check_stack(sorted(installed))


@pytest.mark.parametrize(
    'extra,module',
    [
        ('mmengine', 'mmengine'),
        ('mmcv', 'mmcv'),
        ('mmcv-lite', 'mmcv'),
        ('mmpretrain', 'mmpretrain'),
    ],
)
def test_two_over_each_other(extra, module):
    with pytest.raises(ImportError) as caught:
        check_stack(MAINTAINED | {extra})
    message = str(caught.value)
    assert f'{extra} and onedl-{module} are both installed' in message
    assert f'pip uninstall -y {extra} onedl-{module}' in message
    assert f'pip install onedl-{module}' in message


def test_mmcv_and_its_lite_version():
    with pytest.raises(ImportError, match='mmcv and mmcv-lite are both installed'):
        check_stack(ORIGINAL | LITE)


@pytest.mark.parametrize('missing', sorted(ORIGINAL))
def test_one_is_missing(nothing_importable, missing):
    with pytest.raises(ImportError) as caught:
        check_stack(ORIGINAL - {missing})
    message = str(caught.value)
    assert f"'{missing}' is not installed" in message
    assert 'mmreid_gcl[mm]' in message


def test_a_stack_on_the_path_needs_no_distribution(monkeypatch):
    """A source checkout on PYTHONPATH has no metadata."""
    monkeypatch.setattr(importlib.util, 'find_spec', lambda name: object())
    check_stack(set())


def test_what_is_installed(monkeypatch):
    versions = {'onedl-mmengine': '0.10.12', 'mmcv-lite': '2.2.0', 'torch': '2'}

    def version(name):
        if name not in versions:
            raise importlib.metadata.PackageNotFoundError(name)
        return versions[name]

    monkeypatch.setattr(importlib.metadata, 'version', version)
    assert environment.installed_distributions() == {'onedl-mmengine', 'mmcv-lite'}


def test_this_environment():
    check_stack()


def test_importing_prints_nothing():
    code = (
        'import mmreid_gcl.models, mmreid_gcl.datasets, mmreid_gcl.engine\n'
        'from mmreid_gcl.apis import load_config\n'
        "load_config('gcl_synthetic')\n"
    )
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, '', '')


def test_the_screen_is_spared_what_the_log_file_keeps(tmp_path, capsys):
    logger = MMLogger(name='calm', logger_name='calm', log_file=str(tmp_path / 'a.log'))
    stream = io.StringIO()
    for handler in logger.handlers:
        if type(handler) is logging.StreamHandler:
            handler.setStream(stream)
    calm_screen(logger)
    logger.info('Hooks will be executed in the following order:\nmany')
    logger.warning('"FileClient" will be deprecated')
    logger.warning('this matters')
    logger.info('and this')
    shown = stream.getvalue()
    assert 'this matters' in shown and 'and this' in shown
    assert 'Hooks' not in shown and 'FileClient' not in shown
    kept = (tmp_path / 'a.log').read_text()
    assert 'many' in kept and 'FileClient' in kept and 'this matters' in kept


def test_useless_warnings_of_images_are_ignored():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always')
        ignore_useless_warnings()
        warnings.warn("Only use 'alpha' for pillow backend.", stacklevel=1)
        warnings.warn('another one', stacklevel=1)
    assert [str(warning.message) for warning in caught] == ['another one']
