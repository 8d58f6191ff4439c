# SPDX-License-Identifier: Apache-2.0
import importlib.metadata
import importlib.util

import pytest

from mmreid_gcl import environment
from mmreid_gcl.environment import check_stack

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
