# SPDX-License-Identifier: Apache-2.0
import pytest

from tests.packaging.building import build_sdist, build_wheel, copy_sources


@pytest.fixture(scope='session')
def sources(tmp_path_factory):
    """A copy of the sources, with what an earlier build and Gradio may have left."""
    folder = copy_sources(tmp_path_factory.mktemp('packaging') / 'sources')
    stale = folder / 'build/lib/mmreid_gcl/no_longer_there.py'
    stale.parent.mkdir(parents=True)
    stale.write_text('')
    (folder / 'mmreid_gcl/apis/stub.pyi').write_text('')
    (folder / 'mmreid_gcl/.mim').mkdir()
    (folder / 'mmreid_gcl/.mim/configs').symlink_to('../../configs')
    return folder


@pytest.fixture(scope='session')
def wheel(sources, tmp_path_factory):
    """A wheel built from the checkout."""
    return build_wheel(sources, tmp_path_factory.mktemp('wheel'))


@pytest.fixture(scope='session')
def sdist(sources, tmp_path_factory):
    """A source distribution."""
    return build_sdist(sources, tmp_path_factory.mktemp('sdist'))
